/**
 * The contract of task updates: any service may tell on the channel `task_updates` how its task goes, and hears there how every job goes.
 *
 * In: each valid update drives the job of that id; one that nobody submitted here is created by it and only followed.
 * Out: each transition of a job as the updates of its task, in the same words.
 *
 * 1. Messages that carry our `source` are ours: they are ignored on return, or each job would drive itself.
 * 2. A channel has no memory: an update published while nobody subscribes is lost, so each one tells all that it needs (the status, not the change).
 * 3. Who listens sees a task begin before it is completed, although a short job goes from `queued` to `done` in one step.
 * 4. What only adds to an end, or came too late and was only counted, tells nothing: the task neither begins again nor fails for what it says.
 */
import type { JobEvent, JobSpec } from '../../machines/job/events.ts';
import { timestamp } from '../protocol/control-plane.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import { idOf } from '../protocol/ids.ts';
import type { Json } from '../protocol/json.ts';
import type { Transition } from '../protocol/record.ts';
import type { ChannelSource, ReadMessage, RejectedEntry } from '../protocol/source.ts';
import { excerptOf } from './citadel-excerpt.ts';
import { readTaskUpdate, TASK_UPDATES, TEXT_MAX, writeTaskUpdate, type TaskUpdate, type TaskUpdateMessage } from './task-message.ts';
import { isObject } from './worker-progress.ts';

/** `source` of what Castellan publishes; nobody else's messages may carry it. (1) */
export const OUR_SOURCE = 'castellan';

const MESSAGE_FIELD: ReadonlySet<string> = new Set(['message']);

/** Whoever runs a task says how it ends; one of which nothing is known after a day in processing has failed. */
const TIMEOUT_MS = 86_400_000;
/** What a task is that nobody submitted here. It is out there already; whoever runs it also tries it again. */
const ORIGIN: JobSpec = { type: 'task', via: 'none', source: TASK_UPDATES, timeoutMs: TIMEOUT_MS };

export const taskUpdatesSource: ChannelSource = { channel: TASK_UPDATES, decode: decodeTaskUpdate };

function decodeTaskUpdate(text: string): ReadMessage {
  const read = readTaskUpdate(text);
  if (!read.ok) return { ...read, excerpt: excerptOf(['message', text], MESSAGE_FIELD) } satisfies RejectedEntry;
  const { message } = read;
  if (message.source === OUR_SOURCE) return { ok: 'ignored' }; // (1)
  return { ok: true, actor: `job/${message.task_id}`, event: eventOf(message) as unknown as MachineEvent };
}

function eventOf({ data, source }: TaskUpdateMessage): JobEvent {
  const { status, message, progress, result, error } = data;
  const said = message === undefined ? {} : { message };
  const report = { origin: ORIGIN, ...(source === undefined ? {} : { worker: source }) };
  switch (status) {
    case 'pending':
      return { type: 'submit', spec: ORIGIN };
    case 'in_progress':
      return { type: 'claimed', ...report, ...said, ...(progress === undefined ? {} : { progress }) };
    case 'completed':
      return { type: 'end', ...report, ...said, ...(result === undefined ? {} : { result }) };
    case 'failed': {
      const why = message ?? (typeof error === 'string' ? error.slice(0, TEXT_MAX) : undefined);
      return { type: 'error', ...report, ...(why === undefined ? {} : { message: why }), retryable: false };
    }
  }
}

/** Of the actor type `job`: its transitions, told to whoever listens. */
export const announceTasks = { channel: TASK_UPDATES, message: taskUpdatesOf };

/** What `task_updates` is told of a job's transition, in order: usually one message. */
export function taskUpdatesOf(transition: Transition): readonly string[] {
  const from = stateOf(transition.from);
  const to = stateOf(transition.to);
  if (from === to && isNoNews(to, transition)) return []; // (4)
  const update = updateOf(to, transition);
  if (update === undefined) return [];
  const updates = update.status === 'completed' && statusOf(from) !== 'in_progress' ? [{ status: 'in_progress' as const }, update] : [update]; // (3)
  const at = timestamp(transition.at);
  return updates.map((each) => writeTaskUpdate(idOf(transition.key), each, at, OUR_SOURCE));
}

/** Of a transition that leaves the job where it is. */
function isNoNews(state: string, { stimulus }: Transition): boolean {
  if (['completed', 'failed'].includes(statusOf(state) ?? '')) return true;
  if (stimulus.kind !== 'event') return false;
  const { type } = stimulus.event;
  return ENDINGS.has(type) || (SIGNS.has(type) && state !== 'processing');
}

/** Reports that move the job on, unless they are late. */
const ENDINGS: ReadonlySet<string> = new Set(['end', 'error', 'aborted'] satisfies JobEvent['type'][]);
const SIGNS: ReadonlySet<string> = new Set(['claimed', 'alive'] satisfies JobEvent['type'][]);

function updateOf(state: string, transition: Transition): TaskUpdate | undefined {
  const status = statusOf(state);
  if (status === undefined) return undefined;
  const { message, progress, reason } = saidBy(transition);
  switch (state) {
    case 'cancelled':
      return { status, message: reason === undefined ? 'cancelled' : `cancelled: ${reason}` };
    case 'error':
      return { status, message: message ?? reason ?? 'failed' };
    case 'done':
    case 'dropped':
      return { status, ...(message === undefined ? {} : { message }), progress: 100 };
    case 'processing':
      return { status, ...(message === undefined || message === lost.message ? {} : { message }), ...(progress === undefined ? {} : { progress }) };
    case 'retrying':
      return { status, message: message === undefined ? 'waits to be tried again' : `waits to be tried again: ${message}` };
    default:
      return { status, ...waiting(state, reason) };
  }
}

const WAITS: { readonly [state: string]: string } = {
  scheduled: 'waits for its time',
  waiting: 'waits for its children',
  placing: 'waits for a node',
};

function waiting(state: string, reason: string | undefined): { readonly message?: string } {
  const message = reason ?? WAITS[state];
  return message === undefined ? {} : { message };
}

function statusOf(state: string): TaskUpdate['status'] | undefined {
  switch (state) {
    case 'scheduled':
    case 'waiting':
    case 'placing':
    case 'queued':
    case 'retrying':
      return 'pending';
    case 'processing':
      return 'in_progress';
    case 'done':
    case 'dropped':
      return 'completed';
    case 'error':
    case 'cancelled':
      return 'failed';
    default:
      return undefined;
  }
}

/** A journalled value names the state, or the state and what it is in. */
function stateOf(value: Json): string {
  if (typeof value === 'string') return value;
  return isObject(value) ? (Object.keys(value)[0] ?? '') : '';
}

interface Said {
  readonly message?: string;
  readonly progress?: Json;
  readonly reason?: string;
}

/** What the transition itself knows of why it happened. */
function saidBy({ stimulus, commands }: Transition): Said {
  for (const command of commands) {
    if (command.kind !== 'message' || command.event.type !== 'bury') continue;
    const reason = textOf(command.event['reason']);
    if (reason !== undefined) return { message: reason };
  }
  if (stimulus.kind === 'settled') {
    const { outcome } = stimulus;
    const reason = outcome.ok ? textOf(isObject(outcome.output) ? outcome.output['reason'] : undefined) : textOf(outcome.error.message);
    return reason === undefined ? {} : { reason };
  }
  if (stimulus.kind === 'timer') return stimulus.timer === '|timeout' ? { message: 'it ran longer than it may' } : lost;
  if (stimulus.event.type === 'nodeState' || stimulus.event.type === 'stalled') return lost;
  const message = textOf(stimulus.event['message']);
  const reason = textOf(stimulus.event['reason']);
  const progress = stimulus.event['progress'];
  return {
    ...(message === undefined ? {} : { message }),
    ...(reason === undefined ? {} : { reason }),
    ...(progress === undefined || progress === null ? {} : { progress }),
  };
}

/** Said only where the job leaves its worker by it. */
const lost: Said = { message: 'its worker was lost' };

function textOf(value: Json | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value.slice(0, TEXT_MAX) : undefined;
}
