/**
 * The contract with the rebalance agent: jobs out to its list, its status messages in, and the user's events of both.
 *
 * Out: `SET agent:rebalance:job:{jobId}` (the job as JSON, 24 h), `RPUSH agent:rebalance:jobs`, and the events `rebalance:created|processing|done|error`.
 * In: JSON `{jobId, status, userId, error?, …}` on the channel `agent:rebalance:status`.
 *
 * 1. The job's machine decides: a message becomes an event of `job/<jobId>`, and only what the machine made of it is told on.
 * 2. A message names its user. The machine refuses one of another user; a job that nobody submitted here is adopted for the user it names.
 * 3. What the agent says beside the contract's fields is told on, but cannot stand for one of them.
 * 4. A change told again after a crash is written and logged once: its order, part of the delivery's key, is compared where it is written. (I5)
 * 5. A job that is cancelled while it waits is taken out of the list: the agent never begins it.
 */
import type { JobEvent, JobSpec, RebalanceChange } from '../../machines/job/events.ts';
import type { Delivery, Executor } from '../protocol/command.ts';
import { timestamp } from '../protocol/control-plane.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import type { RebalanceTelling, RebalanceWriter, TellingOrder } from '../protocol/rebalance.ts';
import type { ChannelSource, ReadMessage, RejectedEntry } from '../protocol/source.ts';
import { USER_ID_LENGTH_MAX } from '../protocol/user-events.ts';
import { excerptOf } from './citadel-excerpt.ts';
import { isJobId, JOB_ID } from './worker-entry.ts';
import { isObject, parsedObject } from './worker-progress.ts';

export const REBALANCE_LIST = 'agent:rebalance:jobs';
export const REBALANCE_STATUS = 'agent:rebalance:status';
/** As the contract says, refreshed at each change. */
const RECORD_KEPT_MS = 86_400_000;
/** Characters. Every socket of the user is given it, and a window of them may wait in a socket's buffer. */
const MESSAGE_MAX = 65_536;
/** As a job's events bound the message of an error. */
const ERROR_MAX = 4_096;
/** Levels of the further fields: far from the end of any stack. */
const DEPTH_MAX = 32;
const MESSAGE_FIELD: ReadonlySet<string> = new Set(['message']);
const STATUSES = ['processing', 'done', 'error'] as const;
type AgentStatus = (typeof STATUSES)[number];

export function rebalanceRecordKey(jobId: string): string {
  return `agent:rebalance:job:${jobId}`;
}

/** What a job is that the agent knows and nobody submitted here. Only who runs it can try it again. */
function originOf(userId: string): JobSpec {
  return { type: 'rebalance', via: 'rebalance', userId, attempts: 1, source: REBALANCE_STATUS };
}

export interface ContractLog {
  info(text: string): void;
  error(text: string): void;
}

/** `log` is told in the words that operators of such a backend look for. */
export function rebalanceStatusSource(log: ContractLog): ChannelSource {
  return {
    channel: REBALANCE_STATUS,
    decode: decodeStatus,
    onSubscribed: () => log.info(`[Redis Subscribe] Subscribed to ${REBALANCE_STATUS} (total: 1)`),
    onMessage: (text) => {
      const { jobId, status, userId } = (text.length <= MESSAGE_MAX ? parsedObject(text) : undefined) ?? {};
      log.info(`[Redis Subscribe] Received status update: jobId=${word(jobId)} status=${word(status)} user=${word(userId)}`);
    },
    onFailed: (error) => log.error(`Failed to setup Redis status subscription: ${error.message}`),
  };
}

/** What stands in a log line must not end it, nor look like another one's beginning. */
function word(value: Json | undefined): string {
  return typeof value === 'string' ? value.slice(0, USER_ID_LENGTH_MAX).replace(/[\s\p{C}]/gu, '?') : '?';
}

function decodeStatus(text: string): ReadMessage {
  const reject = (code: string, field: string, why: string): RejectedEntry => ({
    ok: false,
    code,
    field,
    reason: `The field ${field} ${why}.`,
    excerpt: excerptOf(['message', text], MESSAGE_FIELD),
  });
  if (text.length > MESSAGE_MAX) return reject('too_large', 'message', `has ${text.length} characters; at most ${MESSAGE_MAX} are taken`);
  const message = parsedObject(text);
  if (message === undefined) return reject('invalid_json', 'message', 'is not a JSON object');
  const { jobId, status, userId, error, ...extra } = message;
  for (const [field, value] of Object.entries({ jobId, status, userId })) {
    if (value === undefined || value === null || value === '') return reject('missing_field', field, 'is missing');
    if (typeof value !== 'string') return reject('invalid_field', field, 'must be a text');
  }
  if (!isJobId(jobId as string)) return reject('invalid_job_id', 'jobId', `must match ${JOB_ID.source}`);
  if (!STATUSES.includes(status as AgentStatus)) return reject('invalid_field', 'status', `must be one of ${STATUSES.join(', ')}`);
  if ((userId as string).length > USER_ID_LENGTH_MAX) return reject('invalid_field', 'userId', `must have at most ${USER_ID_LENGTH_MAX} characters`);
  const deep = Object.keys(extra).find((field) => !isShallow(extra[field] as Json));
  if (deep !== undefined) return reject('invalid_field', deep, `is nested deeper than ${DEPTH_MAX}`);
  const event = eventOf(status as AgentStatus, userId as string, error, extra);
  return { ok: true, actor: `job/${jobId as string}`, event: event as unknown as MachineEvent };
}

function eventOf(status: AgentStatus, userId: string, error: Json | undefined, extra: JsonObject): JobEvent {
  const report = { userId, origin: originOf(userId), ...(Object.keys(extra).length === 0 ? {} : { extra }) };
  switch (status) {
    case 'processing':
      return { type: 'claimed', ...report };
    case 'done':
      return { type: 'end', ...report, ...(extra['result'] === undefined ? {} : { result: extra['result'] }) };
    case 'error':
      // The agent decided: trying again would do it twice.
      return { type: 'error', ...report, retryable: false, ...(error === undefined || error === null ? {} : { message: textOf(error) }) };
  }
}

function textOf(error: Json): string {
  const named = isObject(error) && typeof error['message'] === 'string' ? error['message'] : error;
  return (typeof named === 'string' ? named : JSON.stringify(named)).slice(0, ERROR_MAX);
}

function isShallow(value: Json): boolean {
  let level: Json[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEPTH_MAX) return false;
    level = level.flatMap((each) => (typeof each === 'object' && each !== null ? Object.values<Json>(each) : []));
  }
  return true;
}

/** The effects of the job's machine: the job is new (`pushRebalance`), its state changed (`tellRebalance`). */
export function rebalanceExecutors(writer: RebalanceWriter, log: ContractLog): { readonly pushRebalance: Executor; readonly tellRebalance: Executor } {
  return {
    pushRebalance: async (delivery) => {
      const telling = { ...tellingOf(delivery), pushTo: REBALANCE_LIST };
      const { written, sockets } = await writer.tell(telling);
      if (!written) return; // (4)
      log.info(`LPUSH jobId=${telling.jobId} to queue=${REBALANCE_LIST}`);
      log.info(`[${telling.event.name}] jobId=${telling.jobId} user=${word(telling.userId)} sockets=${sockets}`);
    },
    tellRebalance: async (delivery) => {
      const telling = tellingOf(delivery);
      const { written } = await writer.tell(telling);
      if (written) log.info(`[${telling.event.name}] jobId=${telling.jobId} user=${word(telling.userId)}`);
    },
  };
}

/** The agent learns from a job's record whose it is. A job that waits longer than the record is kept must not lose it: call this every few hours. */
export async function keepWaitingRebalances(writer: RebalanceWriter): Promise<number> {
  return await writer.keepWaiting(REBALANCE_LIST, rebalanceRecordKey, RECORD_KEPT_MS);
}

function tellingOf(delivery: Delivery): RebalanceTelling {
  const { jobId, userId, status, type, payload = {}, error, extra, withdrawn } = delivery.command.params as unknown as RebalanceChange;
  const priority = priorityOf(delivery.command.params as unknown as RebalanceChange);
  const failure = error === undefined ? {} : { error };
  return {
    jobId,
    userId,
    order: orderOf(delivery),
    createdAt: createdAtOf(jobId) ?? timestamp(delivery.at),
    updatedAt: timestamp(delivery.at),
    record: { jobId, status, userId, payload, type, ...(priority === undefined ? {} : { priority }), ...failure },
    recordKey: rebalanceRecordKey(jobId),
    recordKeptMs: RECORD_KEPT_MS,
    ...(withdrawn === true ? { takeFrom: REBALANCE_LIST } : {}), // (5)
    event: {
      name: status === 'queued' ? 'rebalance:created' : `rebalance:${status}`,
      data: status === 'queued' ? { jobId } : { ...(isObject(extra) ? extra : {}), jobId, status, ...failure }, // (3)
    },
  };
}

/** As the user wrote it, such as `high`. */
function priorityOf({ payload, priority }: RebalanceChange): Json | undefined {
  const given = isObject(payload) ? payload['priority'] : undefined;
  return typeof given === 'string' || typeof given === 'number' ? given : priority;
}

/** Of ids that we made: they begin with the time. */
function createdAtOf(jobId: string): string | undefined {
  const ms = /^(\d{13})-[0-9a-z]{7}$/.exec(jobId)?.[1];
  return ms === undefined ? undefined : timestamp(Number(ms));
}

/** A delivery's key ends with `<epoch>-<revision>-<index>`. */
function orderOf({ key, epoch, revision }: Delivery): TellingOrder {
  return [epoch, revision, Number(key.slice(key.lastIndexOf('-') + 1))];
}
