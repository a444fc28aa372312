/**
 * From what somebody asks for to what a job's machine is given.
 *
 * 1. What has its default is left out: the record of a finished job is kept by the hundred thousand.
 * 2. Ids are made here, before anything is stored, so that a repeat of the same append is the same job.
 * 3. A fault is an InvalidJobError with the field's path, such as `children[2].payload`; nothing is corrected silently.
 * 4. A whole family is bounded: depth, number, bytes. It is submitted in one event.
 */
import { JOB_DEFAULTS, JOB_TYPE, type ChildSpec, type JobSpec } from '../../machines/job/events.ts';
import { jsonFault } from '../core/json-exact.ts';
import { InvalidJobError } from '../protocol/errors.ts';
import { REQUEUE_POLICIES, type Backoff, type JobRequest, type JobRequirements } from '../protocol/job.ts';
import { QUEUE_NAME } from '../protocol/job-progress.ts';
import type { Json } from '../protocol/json.ts';
import { jobIdOf } from './job-ids.ts';

/** Of one payload's JSON. What is larger belongs into a store of its own, with its address as the payload. */
export const PAYLOAD_BYTES_MAX = 262_144;
/** Of a job with all its children: the event that submits them stays below the 1 MiB of a commit's batch. */
export const FAMILY_BYTES_MAX = 786_432;
/** Jobs in one request with children of children. */
export const FAMILY_MAX = 1_000;
/** Generations of children: each adds to the ids. */
export const GENERATIONS_MAX = 8;
const DAY_MS = 86_400_000;
const TEXT_MAX = 256;
const TAGS_MAX = 32;
const TAG_LENGTH_MAX = 64;
const JOB_ID = /^[A-Za-z0-9._:@-]{1,128}$/;
const PRIORITIES = { high: 10, normal: 0, low: -10 } as const;

export interface JobOrigin {
  readonly orgId?: string;
  /** Who submits: `http`, `library`, `schedule/<name>`. */
  readonly source?: string;
  readonly makeId: () => string;
}

export interface NewJob {
  readonly jobId: string;
  readonly spec: JobSpec;
  /** The id was given or belongs to a key, so that the job may exist already. */
  readonly named: boolean;
}

/** Throws InvalidJobError. (3) */
export function newJob(request: JobRequest, origin: JobOrigin, path = ''): NewJob {
  const family = { jobs: 0, bytes: 0 };
  requireObject(request, path === '' ? 'job' : path);
  const { jobId: given, dedupeKey } = request;
  if (given !== undefined && !(typeof given === 'string' && JOB_ID.test(given))) throw new InvalidJobError(`${at(path)}jobId`, `must match ${JOB_ID.source}.`);
  text(dedupeKey, `${at(path)}dedupeKey`);
  const spec = { ...specOf(request, path, origin, family, 0), ...(origin.source === undefined ? {} : { source: origin.source }) };
  const named = given !== undefined || dedupeKey !== undefined;
  const jobId = given ?? (dedupeKey === undefined ? origin.makeId() : keyedId(dedupeKey, spec, origin));
  return { jobId, spec: withChildren(spec, request, jobId, { path, origin, family, generation: 1 }), named };
}

function keyedId(key: string, { queue = JOB_DEFAULTS.queue, type }: JobSpec, { orgId }: JobOrigin): string {
  return jobIdOf('dedupe', orgId ?? null, queue, type, key);
}

interface Family {
  jobs: number;
  bytes: number;
}

interface Generation {
  readonly path: string;
  readonly origin: JobOrigin;
  readonly family: Family;
  readonly generation: number;
}

function withChildren(spec: JobSpec, { children }: JobRequest, parent: string, { path, origin, family, generation }: Generation): JobSpec {
  if (children === undefined || children.length === 0) return spec;
  const list = `${at(path)}children`;
  if (generation > GENERATIONS_MAX) throw new InvalidJobError(list, `are nested deeper than ${GENERATIONS_MAX} generations.`);
  return {
    ...spec,
    children: children.map((child, index): ChildSpec => {
      const place = `${list}[${index}]`;
      requireObject(child, place);
      // A parent waits for its children's word; a job that exists already gave it to somebody else, or to nobody.
      if (child.jobId !== undefined) throw new InvalidJobError(`${place}.jobId`, 'must be left out: a child is named after its parent.');
      if (child.dedupeKey !== undefined) throw new InvalidJobError(`${place}.dedupeKey`, 'must be left out: give the parent one.');
      const jobId = `${parent}.${index}`;
      if (!JOB_ID.test(jobId)) throw new InvalidJobError(list, `would get ids longer than 128 characters; give the parent a shorter one.`);
      const own = { ...specOf(child, place, origin, family, generation), jobId };
      return withChildren(own, child, jobId, { path: place, origin, family, generation: generation + 1 }) as ChildSpec;
    }),
  };
}

type Mutable<Of> = { -readonly [Name in keyof Of]: Of[Name] };

/** All but the children. (1) */
function specOf(request: JobRequest, path: string, { orgId }: JobOrigin, family: Family, generation: number): JobSpec {
  const field = at(path);
  for (const name of Object.keys(request)) {
    if (!FIELDS.has(name) && request[name as keyof JobRequest] !== undefined) throw new InvalidJobError(field + name, 'is not a field of a job.');
  }
  const { type, payload, queue, priority, delayMs, attempts, backoff, timeoutMs, requeue, requires, children, waitFor, onChildFailure, rayId } = request;
  if (typeof type !== 'string' || !JOB_TYPE.test(type)) throw new InvalidJobError(`${field}type`, `must match ${JOB_TYPE.source}.`);
  countFamily(payload, children, path, family, generation);

  const spec: Mutable<JobSpec> = { type, via: 'queue' };
  if (payload !== undefined && !isEmpty(payload)) spec.payload = payload;
  if (queue !== undefined && !(typeof queue === 'string' && QUEUE_NAME.test(queue)))
    throw new InvalidJobError(`${field}queue`, `must match ${QUEUE_NAME.source}.`);
  if (queue !== undefined && queue !== JOB_DEFAULTS.queue) spec.queue = queue;
  const urgency = priorityOf(priority, `${field}priority`);
  if (urgency !== 0) spec.priority = urgency;
  if (whole(delayMs, 0, 365 * DAY_MS, `${field}delayMs`) && delayMs !== 0) spec.delayMs = delayMs;
  if (whole(attempts, 1, 1_000, `${field}attempts`) && attempts !== JOB_DEFAULTS.attempts) spec.attempts = attempts;
  const pause = backoffOf(backoff, `${field}backoff`);
  if (pause !== undefined) spec.backoff = pause;
  if (whole(timeoutMs, 1, 7 * DAY_MS, `${field}timeoutMs`) && timeoutMs !== JOB_DEFAULTS.timeoutMs) spec.timeoutMs = timeoutMs;
  if (oneOf(requeue, REQUEUE_POLICIES, `${field}requeue`) && requeue !== JOB_DEFAULTS.requeue) spec.requeue = requeue;
  const needed = requirementsOf(requires, `${field}requires`);
  if (needed !== undefined) spec.requires = needed;
  if (oneOf(waitFor, ['all', 'any'], `${field}waitFor`) && waitFor !== 'all') spec.waitFor = waitFor;
  if (oneOf(onChildFailure, ['fail', 'continue'], `${field}onChildFailure`) && onChildFailure !== 'fail') spec.onChildFailure = onChildFailure;
  if (text(rayId, `${field}rayId`)) spec.rayId = rayId;
  if (request.removeOnDone !== undefined && typeof request.removeOnDone !== 'boolean')
    throw new InvalidJobError(`${field}removeOnDone`, 'must be true or false.');
  if (request.removeOnDone === true) spec.removeOnDone = true;
  if (orgId !== undefined) spec.orgId = orgId;
  return spec;
}

const FIELDS: ReadonlySet<string> = new Set<keyof JobRequest>([
  'type',
  'payload',
  'jobId',
  'dedupeKey',
  'queue',
  'priority',
  'delayMs',
  'attempts',
  'backoff',
  'timeoutMs',
  'requeue',
  'requires',
  'children',
  'waitFor',
  'onChildFailure',
  'rayId',
  'removeOnDone',
]);

/** Upholds (4). */
function countFamily(payload: Json | undefined, children: unknown, path: string, family: Family, generation: number): void {
  if (children !== undefined && !Array.isArray(children)) throw new InvalidJobError(`${at(path)}children`, 'must be a list of jobs.');
  family.jobs++;
  if (family.jobs > FAMILY_MAX) throw new InvalidJobError(path, `is one too many: a job and all its children may be ${FAMILY_MAX} together.`);
  if (payload === undefined) return;
  const fault = jsonFault(payload);
  if (fault !== undefined)
    throw new InvalidJobError(`${at(path)}payload${fault.path === '' || fault.path.startsWith('[') ? '' : '.'}${fault.path}`, `${fault.why}.`);
  const bytes = jsonBytes(payload);
  if (bytes > PAYLOAD_BYTES_MAX)
    throw new InvalidJobError(`${at(path)}payload`, `has ${bytes} bytes of JSON; at most ${PAYLOAD_BYTES_MAX}. Keep it elsewhere and pass its address.`);
  family.bytes += bytes;
  if (generation > 0 && family.bytes > FAMILY_BYTES_MAX)
    throw new InvalidJobError(`${at(path)}payload`, `is too much: the payloads of a job and all its children may have ${FAMILY_BYTES_MAX} bytes together.`);
}

function jsonBytes(value: Json): number {
  return Buffer.byteLength(JSON.stringify(value));
}

function isEmpty(payload: Json | JobRequirements): boolean {
  return typeof payload === 'object' && payload !== null && !Array.isArray(payload) && Object.keys(payload).length === 0;
}

function priorityOf(priority: JobRequest['priority'], field: string): number {
  if (priority === undefined) return 0;
  if (typeof priority === 'string' && Object.hasOwn(PRIORITIES, priority)) return PRIORITIES[priority];
  if (typeof priority === 'number' && Number.isInteger(priority) && Math.abs(priority) <= 1_000_000) return priority;
  throw new InvalidJobError(field, 'must be high, normal, low, or a whole number from -1000000 to 1000000.');
}

function backoffOf(backoff: Backoff | undefined, field: string): JobSpec['backoff'] {
  if (backoff === undefined) return undefined;
  requireObject(backoff, field);
  const { kind, delayMs, delayMsMax, jitter, ...rest } = backoff;
  refuseFurther(rest, field);
  if (!oneOf(kind, ['fixed', 'exponential'], `${field}.kind`)) throw new InvalidJobError(`${field}.kind`, 'must be fixed or exponential.');
  if (!whole(delayMs, 0, DAY_MS, `${field}.delayMs`)) throw new InvalidJobError(`${field}.delayMs`, 'must be given, in milliseconds.');
  whole(delayMsMax, 0, DAY_MS, `${field}.delayMsMax`);
  if (jitter !== undefined && !(typeof jitter === 'number' && jitter >= 0 && jitter <= 1)) throw new InvalidJobError(`${field}.jitter`, 'must be from 0 to 1.');
  const standard = JOB_DEFAULTS.backoff;
  if (kind === standard.kind && delayMs === standard.delayMs && delayMsMax === standard.delayMsMax && jitter === undefined) return undefined;
  return { kind, delayMs, ...(delayMsMax === undefined ? {} : { delayMsMax }), ...(jitter === undefined ? {} : { jitter }) };
}

function requirementsOf(requires: JobRequirements | undefined, field: string): JobSpec['requires'] {
  if (requires === undefined) return undefined;
  requireObject(requires, field);
  const { tags, gpuMemoryMb, node, service, ...rest } = requires;
  refuseFurther(rest, field);
  if (tags !== undefined && !(Array.isArray(tags) && tags.length <= TAGS_MAX && tags.every(isTag)))
    throw new InvalidJobError(`${field}.tags`, `must be up to ${TAGS_MAX} tags of 1 to ${TAG_LENGTH_MAX} characters.`);
  if (gpuMemoryMb !== undefined && !(typeof gpuMemoryMb === 'number' && Number.isFinite(gpuMemoryMb) && gpuMemoryMb >= 0))
    throw new InvalidJobError(`${field}.gpuMemoryMb`, 'must be a number of MiB.');
  const needed: Mutable<NonNullable<JobSpec['requires']>> = {};
  if (tags !== undefined && tags.length > 0) needed.tags = tags;
  if (gpuMemoryMb !== undefined) needed.gpuMemoryMb = gpuMemoryMb;
  if (text(node, `${field}.node`)) needed.node = node;
  if (text(service, `${field}.service`)) needed.service = service;
  return isEmpty(needed) ? undefined : needed;
}

function isTag(tag: unknown): boolean {
  return typeof tag === 'string' && tag.length > 0 && tag.length <= TAG_LENGTH_MAX;
}

function refuseFurther(rest: object, field: string): void {
  const [name] = Object.keys(rest);
  if (name !== undefined) throw new InvalidJobError(`${field}.${name}`, 'is not known here.');
}

function requireObject(value: unknown, field: string): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new InvalidJobError(field, 'must be an object.');
}

/** Whether it is given; a given one is a whole number within the bounds. */
function whole(value: number | undefined, min: number, max: number, field: string): value is number {
  if (value === undefined) return false;
  if (!Number.isInteger(value) || value < min || value > max) throw new InvalidJobError(field, `must be a whole number from ${min} to ${max}.`);
  return true;
}

function oneOf<Value extends string>(value: Value | undefined, values: readonly Value[], field: string): value is Value {
  if (value === undefined) return false;
  if (!values.includes(value)) throw new InvalidJobError(field, `must be one of ${values.join(', ')}.`);
  return true;
}

function text(value: string | undefined, field: string): value is string {
  if (value === undefined) return false;
  if (typeof value !== 'string' || value.length === 0 || value.length > TEXT_MAX) throw new InvalidJobError(field, `must have 1 to ${TEXT_MAX} characters.`);
  return true;
}

function at(path: string): string {
  return path === '' ? '' : `${path}.`;
}
