/**
 * The shapes of requests and answers, from which requests are validated and the OpenAPI document is made.
 * Answers come from our own port and are not validated again at run time; the tests hold them against these schemas.
 */
import { z } from 'zod';
import {
  NODE_STATES,
  type ActorSummary,
  type ActorView,
  type DeadLetterView,
  type DryRun,
  type HealthReport,
  type HistoryPage,
  type MachineView,
  type NodeView,
  type Page,
  type PartitionView,
  type PastActorView,
  type TransitionView,
} from '../protocol/control-plane.ts';
import type { Json } from '../protocol/json.ts';
import type { MachineEvent, Outcome } from '../protocol/envelope.ts';
import type { MachineEventJson } from '../protocol/record.ts';
import type { Command } from '../protocol/command.ts';

export const LIMIT_DEFAULT = 100;
export const LIMIT_MAX = 1_000;
const CURSOR_LENGTH_MAX = 512;
/** The longest that a sender may wait for the outcome of its event. */
export const WAIT_MS_MAX = 30_000;
const DURATION_MS_MAX = 10 * 365 * 86_400_000;

/** Patterns of protocol/ids.ts and contracts 1, so that the OpenAPI document shows them. */
const actorType = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/);
const actorId = z.string().regex(/^[A-Za-z0-9._:@-]{1,128}$/);
const nodeId = z.string().regex(/^[a-zA-Z0-9._-]{1,64}$/);
const cursor = z.string().min(1).max(CURSOR_LENGTH_MAX);
const wholeNumber = (min: number, max: number) => z.coerce.number().int().min(min).max(max);

export const pageQuery = z.object({ cursor: cursor.optional(), limit: wholeNumber(1, LIMIT_MAX).default(LIMIT_DEFAULT) });
export const nodeQuery = pageQuery.extend({ state: z.enum(NODE_STATES).optional() });
export const nodeParams = z.object({ id: nodeId });
export const actorQuery = pageQuery.extend({
  type: actorType.optional(),
  state: z
    .string()
    .regex(/^[^{}\s]{1,256}$/)
    .optional(),
  inStateLongerThan: wholeNumber(0, DURATION_MS_MAX).optional().describe('Milliseconds.'),
});
export const actorParams = z.object({ type: actorType, id: actorId });
export const revisionParams = actorParams.extend({ revision: wholeNumber(1, Number.MAX_SAFE_INTEGER) });
export const deadLetterParams = z.object({ id: z.string().regex(/^[0-9]{1,5}-[0-9]{1,16}-[0-9]{1,16}$/) });
export const sendQuery = z.object({
  dryRun: z
    .enum(['true', 'false'])
    .default('false')
    .transform((text) => text === 'true'),
  wait: wholeNumber(0, WAIT_MS_MAX).optional().describe('Milliseconds to wait for the outcome.'),
});
export const sendHeaders = z.object({
  'idempotency-key': z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/)
    .optional(),
  traceparent: z.string().optional(),
});
const eventType = z
  .string()
  .min(1)
  .max(256)
  .refine((type) => !type.startsWith('xstate.'), 'names beginning with "xstate." are reserved');
export const eventBody = z.looseObject({ type: eventType }) as unknown as z.ZodType<MachineEvent>;
export const streamQuery = z.object({
  cursor: cursor.optional(),
  last_id: cursor.optional(),
  types: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,31}(,[a-z][a-z0-9-]{0,31}){0,31}$/)
    .optional()
    .describe('Actor types, separated by commas.'),
});
export const streamHeaders = z.object({ 'last-event-id': cursor.optional() });
export const sessionBody = z.strictObject({ secret: z.string().min(16).max(256) });

// Answers

const time = z.iso.datetime();
const json = z.any() as z.ZodType<Json>;
const event = z.looseObject({ type: z.string() }) as unknown as z.ZodType<MachineEventJson>;
const commands = z.array(z.looseObject({ kind: z.enum(['effect', 'message']) })) as unknown as z.ZodType<readonly Command[]>;
const status = z.enum(['active', 'done', 'error', 'stopped']);

export function pageOf<Item>(item: z.ZodType<Item>): z.ZodType<Page<Item>> {
  return z.object({ items: z.array(item), next: z.string().nullable() });
}

export const healthReport: z.ZodType<HealthReport> = z.object({
  status: z.enum(['healthy', 'unhealthy']),
  uptime_seconds: z.number(),
  checks: z.record(z.string(), z.object({ status: z.enum(['up', 'down']), detail: z.string().optional() })) as unknown as z.ZodType<HealthReport['checks']>,
});

export const nodeView: z.ZodType<NodeView> = z.object({
  nodeId: z.string(),
  name: z.string(),
  orgId: z.string().nullable(),
  state: z.enum(NODE_STATES),
  since: time,
  lastSeenAt: time.nullable(),
  tags: z.array(z.string()),
  status: json,
});

export const machineView: z.ZodType<MachineView> = z.object({
  type: z.string(),
  version: z.string(),
  events: z.array(z.string()),
  effects: z.array(z.string()),
  definition: json,
});

const actorFields = {
  type: z.string(),
  id: z.string(),
  orgId: z.string().nullable(),
  revision: z.int(),
  status,
  value: json,
  tags: z.array(z.string()),
  enteredAt: time,
};
export const actorSummary: z.ZodType<ActorSummary> = z.object(actorFields);
export const actorView = z.object({
  ...actorFields,
  context: json,
  document: json.optional(),
  entered: z.record(z.string(), time),
  timers: z.array(z.object({ id: z.string(), event, dueAt: time })),
  nextEvents: z.array(z.string()),
  machineVersion: z.string(),
  parked: z.string().optional(),
}) as unknown as z.ZodType<ActorView>;

export const transitionView = z.object({
  type: z.string(),
  id: z.string(),
  revision: z.int(),
  at: time,
  event,
  from: json,
  to: json,
  commands,
  emitted: z.array(event),
  cause: z.object({ source: z.string(), ref: z.string(), causation: z.string().optional(), traceparent: z.string().optional() }),
  machineVersion: z.string(),
}) as unknown as z.ZodType<TransitionView>;

export const historyPage: z.ZodType<HistoryPage> = z.object({ items: z.array(transitionView), next: z.string().nullable(), truncated: z.boolean() });

export const pastActorView = z.object({
  type: z.string(),
  id: z.string(),
  revision: z.int(),
  at: time,
  status,
  value: json,
  context: json,
  record: json,
}) as unknown as z.ZodType<PastActorView>;

const outcome = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('transition'), revision: z.int(), value: json, status, output: json.optional() }),
  z.object({ kind: z.literal('touch') }),
  z.object({ kind: z.literal('ignored') }),
  z.object({ kind: z.literal('dead-letter'), code: z.string(), reason: z.string(), field: z.string().optional() }),
]) as unknown as z.ZodType<Outcome>;
export const sent = z.object({ entry: z.string(), partition: z.int(), repeated: z.boolean(), outcome: outcome.optional() });

export const dryRun = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('transition'),
    revision: z.int(),
    status,
    from: json,
    value: json,
    context: json,
    commands,
    emitted: z.array(event),
    nextEvents: z.array(z.string()),
  }),
  z.object({ kind: z.literal('touch') }),
  z.object({ kind: z.literal('ignored') }),
  z.object({ kind: z.literal('rejected'), code: z.string(), reason: z.string(), field: z.string().optional() }),
]) as unknown as z.ZodType<DryRun>;

export const deadLetterView = z.object({
  id: z.string(),
  at: time,
  source: z.string(),
  ref: z.string(),
  code: z.string(),
  reason: z.string(),
  field: z.string().optional(),
  actor: z.string().optional(),
  event: event.optional(),
  excerpt: z.string(),
}) as unknown as z.ZodType<DeadLetterView>;

export const partitionView: z.ZodType<PartitionView> = z.object({
  partition: z.int(),
  owner: z.string().nullable(),
  epoch: z.number(),
  position: z.string(),
  lag: z.int(),
  timers: z.int(),
  outbox: z.int(),
  commit: z.string(),
  retries: z.int(),
  sourceLagMs: z.record(z.string(), z.number()),
});

export const caller = z.object({ subject: z.string(), role: z.string(), org: z.string().nullable(), expiresAt: time });

export const problemDocument = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string(),
  detail: z.string(),
  field: z.string().optional(),
  instance: z.string().optional(),
});
