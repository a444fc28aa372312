/**
 * A schedule: submits a job at each of its times.
 *
 * `new` is never at rest. No clock is read here: when the next time is, the promise `nextTick` says.
 *
 * 1. A tick submits exactly one job, `<name>.<ms of the tick>`: the message is numbered, and a job that exists takes no second submit.
 * 2. What was missed is not made up: a tick that is overdue fires once, and the next is planned after the time at which it was due.
 */
import { assign, cancel, fromPromise, raise, sendTo, setup, type DoneActorEvent } from 'xstate';
import { durableActor } from '../../src/protocol/actor-reference.ts';
import { EventRejectedError } from '../../src/protocol/errors.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';
import type { Json } from '../../src/protocol/json.ts';
import type { ChildSpec, JobSpec } from '../job/events.ts';
import type { PutSchedule, ScheduleEvent, Tick, TickInput, Times } from './events.ts';

export interface ScheduleServices {
  readonly nextTick: (input: TickInput) => Promise<Tick>;
}

export type ScheduleContext = Times & {
  readonly spec: JobSpec;
  readonly job?: Json;
  /** The planned tick, ms since the epoch. */
  readonly at?: number;
  readonly delayMs?: number;
  /** The newest tick that fired. */
  readonly after?: number;
  readonly runs: number;
  /** Why there is no next tick. */
  readonly reason?: string;
};

/** An id of a job is at most 128 characters, and a tick adds 14. Its children need room, too. */
export const SCHEDULE_NAME = /^[A-Za-z0-9._:@-]{1,100}$/;
/** Until the times are asked for again when they could not be told. */
const ASK_AGAIN_MS = 5_000;

type OwnEvent = { readonly type: 'ask' };

/** Throws EventRejectedError for any first event but `put`. */
export function scheduleContextOf(name: string, event: MachineEvent): ScheduleContext {
  if (event.type !== 'put') throw new EventRejectedError('unknown_schedule', `There is no schedule ${name}: it was never put, or is removed.`);
  if (!SCHEDULE_NAME.test(name)) throw new EventRejectedError('invalid_schedule', `The name of a schedule must match ${SCHEDULE_NAME.source}.`, 'name');
  return { ...toldBy(event as unknown as PutSchedule), runs: 0 } as ScheduleContext;
}

/** The id of the job that the tick submits. */
export function tickJobId(name: string, at: number): string {
  return `${name}.${at}`;
}

export function createScheduleMachine({ nextTick }: ScheduleServices) {
  const put = [
    { guard: 'hasSameTimes', actions: 'take' },
    { target: 'planning', reenter: true, actions: ['take', 'beginAnew'] },
  ] as const;
  const ending = { pause: 'paused', remove: 'removed' } as const;

  return setup({
    types: { context: {} as ScheduleContext, events: {} as ScheduleEvent | OwnEvent, input: {} as ScheduleContext },
    actors: { nextTick: fromPromise<Tick, TickInput>(({ input }) => nextTick(input)) },
    delays: { due: ({ context }) => context.delayMs ?? 0 },
    guards: {
      hasSameTimes: ({ context, event }) =>
        event.type === 'put' && event.cron === context.cron && event.timeZone === context.timeZone && event.everyMs === context.everyMs,
      hasEnded: ({ event }) => outputOf(event).ended !== undefined,
    },
    actions: {
      take: assign(({ event }) => (event.type === 'put' ? toldBy(event) : {})),
      beginAnew: assign(changed({ after: undefined, at: undefined, delayMs: undefined, reason: undefined })),
      plan: assign(({ event }) => {
        const { at, delayMs } = outputOf(event);
        return changed({ at, delayMs, reason: undefined });
      }),
      noteEnd: assign(({ event }) => changed({ at: undefined, delayMs: undefined, reason: outputOf(event).ended })),
      noteFault: assign(({ event }) =>
        changed({ reason: `its times cannot be told just now: ${(event as { error?: { message?: string } }).error?.message ?? ''}` }),
      ),
      unplan: assign(changed({ at: undefined, delayMs: undefined })),
      submit: sendTo(
        ({ context, self }) => durableActor('job', tickJobId(self.id, context.at ?? 0)),
        ({ context, self }) => ({ type: 'submit', spec: named(context.spec, tickJobId(self.id, context.at ?? 0)) }), // (1)
      ),
      countRun: assign(({ context }) => changed({ runs: context.runs + 1, after: context.at })),
      askLater: raise({ type: 'ask' }, { id: 'ask', delay: ASK_AGAIN_MS }),
      stopAsking: cancel('ask'),
    },
  }).createMachine({
    id: 'schedule',
    context: ({ input }) => input,
    initial: 'new',
    states: {
      new: {
        meta: { description: 'It exists from its first event on, which moves it on at once.' },
        tags: ['quiet'],
        on: { put: 'planning' },
      },
      planning: {
        meta: { description: 'Its next time is being asked for.' },
        tags: ['busy'],
        invoke: {
          id: 'nextTick',
          src: 'nextTick',
          input: ({ context: { cron, timeZone, everyMs, after = null } }): TickInput => ({
            after,
            ...(cron === undefined ? undefined : { cron }),
            ...(timeZone === undefined ? undefined : { timeZone }),
            ...(everyMs === undefined ? undefined : { everyMs }),
          }),
          onDone: [
            { guard: 'hasEnded', target: 'ended', actions: 'noteEnd' },
            { target: 'waiting', actions: 'plan' },
          ],
          onError: { actions: ['noteFault', 'askLater'] },
        },
        exit: 'stopAsking',
        on: { put, ask: { target: 'planning', reenter: true }, ...ending },
      },
      waiting: {
        meta: { description: 'Its next time is known. Then it submits its job and plans the one after.' },
        tags: ['waits'],
        on: { put, ...ending },
        after: { due: { target: 'planning', actions: ['submit', 'countRun', 'unplan'] } }, // (2)
      },
      paused: {
        meta: { description: 'Somebody paused it: nothing is submitted until it is resumed.' },
        tags: ['quiet'],
        entry: 'unplan',
        on: { put: { actions: 'take' }, resume: 'planning', remove: 'removed' },
      },
      ended: {
        meta: { description: 'Its times never come again; the reason stands in it. Other times bring it back.' },
        tags: ['quiet', 'attention'],
        on: { put, remove: 'removed' },
      },
      removed: {
        meta: { description: 'Somebody removed it; the next sweep drops it. Putting it again brings it back.' },
        tags: ['quiet'],
        entry: 'unplan',
        on: { put: { target: 'planning', actions: ['take', 'beginAnew'] } },
      },
    },
  });
}

type Draft = { -readonly [Field in keyof ScheduleContext]?: ScheduleContext[Field] | undefined };

/** A field that is undefined is absent from the record. */
function changed(draft: Draft): Partial<ScheduleContext> {
  return draft as Partial<ScheduleContext>;
}

function toldBy({ cron, timeZone, everyMs, spec, job }: PutSchedule): Partial<ScheduleContext> {
  return changed({ cron, timeZone, everyMs, spec, job });
}

/** Children are named after their parent, as at any submission. */
function named(spec: JobSpec, jobId: string): JobSpec {
  if (spec.children === undefined) return spec;
  const children = spec.children.map((child, index): ChildSpec => {
    const id = `${jobId}.${index}`;
    return { ...named(child, id), jobId: id };
  });
  return { ...spec, children };
}

function outputOf(event: unknown): { readonly at?: number; readonly delayMs?: number; readonly ended?: string } {
  return (event as DoneActorEvent<{ readonly at?: number; readonly delayMs?: number; readonly ended?: string }>).output;
}
