/**
 * A node of the fleet: what is shown of its connection, how its silence is timed, and its health.
 *
 * `connection` is what people see; `watch` is the clockwork behind it and tells `connection` by raised events,
 * so that the time of entry into `online` is not reset by a single late beat. `health` follows the readings.
 *
 * 1. A beat in `watch.fresh` that changes nothing is a touch: it re-enters `fresh` (which re-arms the one timer), stores
 *    the document, and leaves context and states the same reference. No guard and no action on that way assigns.
 * 2. At most one timer is armed. late → degraded → offline are chained by their differences; each is a liveness delay,
 *    so that after a time in which nobody listened the node has its whole deadline again (definition.ts).
 * 3. The fleet's counts are exact if each message arrives once and in order. A node is, for its fleet, either no member,
 *    a member on time, or a late member:
 *      joined: none → on time · late: on time → late · back: late → on time · gone: late → none · left: member → none.
 *    It is no member in `waiting`, `gone`, and while recovering from offline; late in `late`, `silent`, `asking`, `adrift`
 *    and while recovering from those; on time in `fresh`.
 * 4. A node is declared offline only by the fleet's verdict, or when no verdict came within the time for it.
 *    A node that is `unknown` asks again every interval, so it stays unknown only while the fleet's brake holds.
 * 5. A job whose worker fell silent asks `doubt`. `online` is answered only by a status that came after the question, for the silence of
 *    both may have one cause that is not noticed yet; offline and a node that never reported are answered at once. Who cannot be answered
 *    yet is remembered and told when it can; beyond {@link ASKERS_MAX} they are told `unknown` and ask again by themselves.
 * 6. A node that reports with a device's code tells that device once that it was `seen`. The device it is (`device`) is told each change of
 *    its state and health. None of it is on the way of a beat that changes nothing. (1)
 */
import { assign, raise, sendTo, setup, stateIn } from 'xstate';
import { durableActor } from '../../src/protocol/actor-reference.ts';
import { described, healthStates } from './health-states.ts';
import { deadlinesOf, normalCelsius, silenceReason, type HealthThresholds, type HeartbeatSettings } from './settings.ts';
import type { DeviceClaim, DoubtEvent, NodeState, NodeStateChange, ServicesHealth, StatusEvent, VerdictEvent } from './events.ts';

/** A node in doubt holds so many ids of 16 to 128 characters; more jobs than that do not run on one. */
export const ASKERS_MAX = 1_000;

export type NodeContext = {
  readonly id: string;
  readonly org: string;
  readonly name: string;
  readonly tags: readonly string[];
  /** Jobs that wait for an answer. (5) */
  readonly askers?: readonly string[];
  /** The device that it is, or whose code it reported with. (6) */
  readonly device?: string;
  /** From here on a GPU is hot, °C; absent: the default. */
  readonly gpuHigh?: number;
};

/** From `watch` to `connection`, within one step; never from outside. */
type ShowEvent = { readonly [State in NodeState]: { readonly type: `show.${State}`; readonly reason: string } }[NodeState];

type NodeEvent = StatusEvent | VerdictEvent | DoubtEvent | DeviceClaim | ShowEvent;

/** The effect that every change of the shown state has. `event` is the raised one that says why. */
function published(state: NodeState) {
  return {
    type: 'publishNodeState' as const,
    params: ({ context, event }: { context: NodeContext; event: NodeEvent }): NodeStateChange => ({
      orgId: context.org,
      state,
      reason: 'reason' in event ? event.reason : '',
    }),
  };
}

/** Whose worker on a node in that state is doubted is remembered, and told what is shown now. (5) */
function doubted(state: NodeState) {
  return [
    { guard: 'remembersAsker', actions: { type: 'answer', params: state } },
    { guard: 'mayRemember', actions: ['remember', { type: 'answer', params: state }] },
    { actions: { type: 'answer', params: 'unknown' } },
  ] as const;
}

/** To a device, with the node's id: see machines/device/events.ts. */
type NodeHealth = { readonly type: 'nodeHealth'; readonly services: ServicesHealth } | { readonly type: 'nodeHealth'; readonly gpu: 'normal' | 'high' };

export function createNodeMachine(heartbeat: HeartbeatSettings, health: HealthThresholds) {
  const { intervalMs, missedDegraded, missedOffline } = heartbeat;
  const { lateMs, degradedMs, offlineMs } = deadlinesOf(heartbeat);
  const silence = silenceReason(missedOffline, heartbeat);

  const base = setup({
    types: {
      context: {} as NodeContext,
      events: {} as NodeEvent,
      input: {} as NodeContext,
    },
    delays: {
      late: lateMs,
      degraded: degradedMs - lateMs,
      offline: offlineMs - degradedMs,
      recovery: offlineMs,
      verdict: intervalMs,
      recheck: intervalMs,
    },
    guards: {
      orgChanged: ({ context, event }) => event.type === 'status' && event.orgId !== context.org,
      detailsChanged: ({ context, event }) =>
        event.type === 'status' && (event.name !== context.name || (event.tags !== undefined && !sameTags(event.tags, context.tags))),
      isOffline: ({ event }) => event.type === 'verdict' && event.verdict === 'offline',
      isUnknown: ({ event }) => event.type === 'verdict' && event.verdict === 'unknown',
      isAsked: ({ context }) => context.askers !== undefined,
      remembersAsker: ({ context, event }) => event.type === 'doubt' && context.askers?.includes(event.job) === true,
      mayRemember: ({ context }) => (context.askers?.length ?? 0) < ASKERS_MAX,
      shownOffline: stateIn({ connection: 'offline' }),
      shownUnknown: stateIn({ connection: 'unknown' }),
      services: ({ event }, params: { readonly are: ServicesHealth }) => event.type === 'status' && event.services === params.are,
      deviceChanged: ({ context, event }) => event.type === 'status' && event.device !== undefined && event.device !== context.device,
      gpuHot: ({ context, event }) =>
        event.type === 'status' && event.gpuTemperature !== null && event.gpuTemperature >= (context.gpuHigh ?? health.gpuHighCelsius),
      gpuCool: ({ context, event }) =>
        event.type === 'status' && event.gpuTemperature !== null && event.gpuTemperature < normalCelsius(context.gpuHigh, health),
      diskFull: ({ event }) => event.type === 'status' && event.diskPercent !== null && event.diskPercent >= health.diskLowPercent,
      diskRoomy: ({ event }) => event.type === 'status' && event.diskPercent !== null && event.diskPercent < health.diskOkPercent,
    },
    actions: {
      /** Built in: stores the document that came with the event. */
      setDocument: () => {},
      /** Effect: tells the world on `node:state:{nodeId}`. */
      publishNodeState: (_args, _change: NodeStateChange) => {},
      adoptDetails: assign(({ context, event }) => (event.type === 'status' ? { org: event.orgId, name: event.name, tags: event.tags ?? context.tags } : {})),
      tellJoined: sendTo(({ context }) => durableActor('fleet', context.org), { type: 'joined' }),
      tellLate: sendTo(({ context }) => durableActor('fleet', context.org), { type: 'late' }),
      tellBack: sendTo(({ context }) => durableActor('fleet', context.org), { type: 'back' }),
      tellGone: sendTo(({ context }) => durableActor('fleet', context.org), { type: 'gone' }),
      tellLeft: sendTo(({ context }) => durableActor('fleet', context.org), { type: 'left' }),
      askFleet: sendTo(
        ({ context }) => durableActor('fleet', context.org),
        ({ context }) => ({ type: 'ask', nodeId: context.id }),
      ),
      remember: assign(({ context, event }) => (event.type === 'doubt' ? { askers: [...(context.askers ?? []), event.job] } : {})),
      answer: sendTo(
        ({ event }) => durableActor('job', event.type === 'doubt' ? event.job : ''),
        (_args, state: NodeState | 'unheard') => ({ type: 'nodeState', state }),
      ),
      /** By the code in its status. */
      adoptDevice: assign(({ event }) => (event.type === 'status' && event.device !== undefined ? { device: event.device } : {})),
      tellSeen: sendTo(
        ({ event }) => durableActor('device', event.type === 'status' ? (event.device ?? '') : ''),
        ({ context }) => ({ type: 'seen', nodeId: context.id, orgId: context.org }),
      ),
      adoptClaim: assign(({ event }) =>
        event.type === 'device' ? ({ device: event.device, gpuHigh: event.gpuHigh === null ? undefined : event.gpuHigh } as object) : {},
      ),
      forgetAskers: assign(({ context }) => (context.askers === undefined ? {} : ({ askers: undefined } as object))),
      showFirst: raise({ type: 'show.online', reason: 'first status received' }),
      showBack: raise({ type: 'show.online', reason: '2 beats in a row received' }),
      showDegraded: raise({ type: 'show.degraded', reason: silenceReason(missedDegraded, heartbeat) }),
      showOffline: raise({ type: 'show.offline', reason: silence }),
      showOfflineUnanswered: raise({ type: 'show.offline', reason: `${silence}; the fleet gave no verdict` }),
      showUnknown: raise({ type: 'show.unknown', reason: `${silence}; so many nodes of the fleet are silent that the fault may not be theirs` }),
    },
  });
  /** To the device that it is; nobody is told of a node that is none. (6) */
  const told = (event: { readonly type: 'nodeState'; readonly state: NodeState } | NodeHealth) =>
    base.enqueueActions(({ context, event: cause, enqueue }) => {
      if (context.device === undefined) return;
      const read = 'gpu' in event && cause.type === 'status' ? { gpuTemperature: cause.gpuTemperature } : {};
      enqueue.sendTo(durableActor('device', context.device), { ...event, nodeId: context.id, ...read });
    });
  const machine = base.extend({
    actions: {
      tellOnline: told({ type: 'nodeState', state: 'online' }),
      tellDegraded: told({ type: 'nodeState', state: 'degraded' }),
      tellOffline: told({ type: 'nodeState', state: 'offline' }),
      tellUnknown: told({ type: 'nodeState', state: 'unknown' }),
      tellServicesOk: told({ type: 'nodeHealth', services: 'ok' }),
      tellServicesDegraded: told({ type: 'nodeHealth', services: 'degraded' }),
      tellServicesFailed: told({ type: 'nodeHealth', services: 'failed' }),
      tellGpuNormal: told({ type: 'nodeHealth', gpu: 'normal' }),
      tellGpuHigh: told({ type: 'nodeHealth', gpu: 'high' }),
      tellAskersOnline: base.enqueueActions(({ context, enqueue }) => {
        for (const job of context.askers ?? []) enqueue.sendTo(durableActor('job', job), { type: 'nodeState', state: 'online' });
      }),
      tellAskersOffline: base.enqueueActions(({ context, enqueue }) => {
        for (const job of context.askers ?? []) enqueue.sendTo(durableActor('job', job), { type: 'nodeState', state: 'offline' });
      }),
    },
  });
  return machine.createMachine({
    id: 'node',
    context: ({ input }) => input,
    type: 'parallel',
    states: {
      connection: {
        id: 'connection',
        initial: 'new',
        states: {
          new: {
            meta: described('No status was ever received. The first one brings it online.'),
            tags: ['quiet'],
            on: { 'show.online': 'online', doubt: { actions: { type: 'answer', params: 'unheard' } }, device: { actions: 'adoptClaim' } },
          },
          online: {
            meta: described(`It reports. Shown as degraded when ${missedDegraded} beats are missed.`),
            tags: ['reachable'],
            entry: [published('online'), 'tellOnline'],
            on: {
              'show.degraded': 'degraded',
              device: { actions: ['adoptClaim', 'tellOnline'] },
              status: { guard: 'isAsked', actions: ['tellAskersOnline', 'forgetAskers'] }, // (5)
              doubt: [{ guard: 'remembersAsker' }, { guard: 'mayRemember', actions: 'remember' }, { actions: { type: 'answer', params: 'unknown' } }],
            },
          },
          degraded: {
            meta: described(
              `${missedDegraded} beats were missed. 2 beats bring it back; at ${missedOffline} missed beats the fleet decides whether it is offline.`,
            ),
            tags: ['attention'],
            entry: [published('degraded'), 'tellDegraded'],
            on: {
              'show.online': { target: 'online', actions: ['tellAskersOnline', 'forgetAskers'] },
              'show.offline': { target: 'offline', actions: ['tellAskersOffline', 'forgetAskers'] },
              'show.unknown': 'unknown',
              device: { actions: ['adoptClaim', 'tellDegraded'] },
              doubt: doubted('degraded'),
            },
          },
          offline: {
            meta: described('It was declared lost. 2 beats in a row bring it back.'),
            tags: ['attention', 'lost'],
            entry: [published('offline'), 'tellOffline'],
            on: {
              'show.online': 'online',
              device: { actions: ['adoptClaim', 'tellOffline'] },
              doubt: { actions: { type: 'answer', params: 'offline' } },
            },
          },
          unknown: {
            meta: described('It is silent, and so is most of its fleet: nothing is concluded. 2 beats bring it back; it asks the fleet again every interval.'),
            tags: ['attention'],
            entry: [published('unknown'), 'tellUnknown'],
            on: {
              'show.online': { target: 'online', actions: ['tellAskersOnline', 'forgetAskers'] },
              'show.offline': { target: 'offline', actions: ['tellAskersOffline', 'forgetAskers'] },
              device: { actions: ['adoptClaim', 'tellUnknown'] },
              doubt: doubted('unknown'),
            },
          },
        },
      },
      watch: {
        id: 'watch',
        initial: 'waiting',
        states: {
          waiting: {
            id: 'waiting',
            meta: described('Waits for the first status.'),
            tags: ['quiet'],
            on: { status: { target: 'fresh', actions: ['setDocument', 'tellJoined', 'showFirst'] } },
          },
          fresh: {
            id: 'fresh',
            meta: described('The newest status is in time. Every status starts the time anew; one interval and the skew without one make it late.'),
            tags: ['heard'],
            on: { status: { target: 'fresh', reenter: true, actions: 'setDocument' } }, // (1)
            always: [
              { guard: 'orgChanged', actions: ['tellLeft', 'adoptDetails', 'tellJoined'] },
              { guard: 'detailsChanged', actions: 'adoptDetails' },
              { guard: 'deviceChanged', actions: ['adoptDevice', 'tellSeen'] }, // (6)
            ],
            after: { late: 'late' },
          },
          late: {
            id: 'late',
            meta: described('One beat is overdue; the fleet counts it as late. A status makes it fresh again; further silence makes the node degraded.'),
            tags: ['overdue'],
            entry: 'tellLate',
            on: { status: { target: 'fresh', actions: ['setDocument', 'tellBack'] } },
            after: { degraded: { target: 'silent', actions: 'showDegraded' } },
          },
          silent: {
            id: 'silent',
            meta: described('Degraded and still silent. A status starts the recovery; at the offline deadline the fleet is asked.'),
            tags: ['overdue'],
            on: { status: { target: 'recovering', actions: 'setDocument' } },
            after: { offline: 'asking' },
          },
          asking: {
            id: 'asking',
            meta: described(
              'The offline deadline has passed; the fleet is asked whether this node is lost or the fault is a common one. A status starts the recovery.',
            ),
            tags: ['overdue'],
            entry: 'askFleet',
            on: {
              status: { target: 'recovering', actions: 'setDocument' },
              verdict: [
                { guard: 'isOffline', target: 'gone', actions: ['tellGone', 'showOffline'] },
                { guard: 'isUnknown', target: 'adrift', actions: 'showUnknown' },
              ],
            },
            after: { verdict: { target: 'gone', actions: ['tellGone', 'showOfflineUnanswered'] } }, // (4)
          },
          recovering: {
            id: 'recovering',
            meta: described('One beat was heard after the silence; a second one within the full deadline brings the node back online.'),
            tags: ['heard'],
            on: {
              status: [
                { guard: 'shownOffline', target: 'fresh', actions: ['setDocument', 'tellJoined', 'showBack'] },
                { target: 'fresh', actions: ['setDocument', 'tellBack', 'showBack'] },
              ],
            },
            after: {
              recovery: [{ guard: 'shownOffline', target: 'gone' }, { guard: 'shownUnknown', target: 'adrift', actions: 'askFleet' }, { target: 'asking' }],
            },
          },
          gone: {
            id: 'gone',
            meta: described('Declared offline; it is no longer counted in the fleet. A status starts the recovery.'),
            tags: ['quiet'],
            on: { status: { target: 'recovering', actions: 'setDocument' } },
          },
          adrift: {
            id: 'adrift',
            meta: described('Silent while most of the fleet is. It asks the fleet again every interval; a status starts the recovery.'),
            tags: ['overdue'],
            on: {
              status: { target: 'recovering', actions: 'setDocument' },
              verdict: { guard: 'isOffline', target: 'gone', actions: ['tellGone', 'showOffline'] },
            },
            after: { recheck: { target: 'adrift', reenter: true, actions: 'askFleet' } }, // (4)
          },
        },
      },
      health: healthStates(health),
    },
  });
}

function sameTags(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((tag, index) => tag === right[index]);
}
