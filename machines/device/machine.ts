/**
 * A device: from the code on its screen to its running services, and what stands in the way.
 *
 * `unclaimed` is where an address stands that a node named and nobody ever requested; it is swept away. `active` holds an approved device.
 *
 * 1. `reason` in the context answers "why is it not running?" in every state: each state explains itself when it is entered, and again
 *    when its node's state changes.
 * 2. The saved configuration is pushed when it is saved, or, for a node that was not there yet, once when it is first seen. A push that
 *    the agent does not answer is repeated while its node is there, with growing pauses.
 * 3. Only the device's own node speaks for it: what another one says of it is refused.
 * 4. A report that says nothing new is a touch: the report is the document, so percentages cost no revision.
 * 5. A report on another revision than the present one changes nothing and is counted.
 */
import { assign, cancel, raise, sendTo, setup } from 'xstate';
import { durableActor } from '../../src/protocol/actor-reference.ts';
import { EventRejectedError } from '../../src/protocol/errors.ts';
import type { Json } from '../../src/protocol/json.ts';
import { alertingAfter, changedConditions } from './conditions.ts';
import { gpuHighOf, isPresent, requested, saved, type DeviceContext, type Report } from './context.ts';
import type { DeviceEvent, NodeNotice, NodeOwner, PushConfig } from './events.ts';
import { outcomeOf, reasonOf, refusalOf, type OperatingState } from './reasons.ts';
import type { DeviceMachineSettings } from './settings.ts';

/** A timer of its own, never from outside: the agent has told nothing of what was pushed. */
type OwnEvent = { readonly type: 'unanswered' };
type Event = DeviceEvent | OwnEvent;

export function createDeviceMachine(settings: DeviceMachineSettings) {
  const base = setup({
    types: { context: {} as DeviceContext, events: {} as Event, input: {} as DeviceContext },
    delays: {
      lifetime: ({ context }) => context.lifetimeMs,
      answer: ({ context }) => Math.min(settings.reportMs * 2 ** Math.max(0, context.pushes - 1), settings.reportMsMax),
    },
    guards: {
      isStrangeNode: ({ context, event }) => 'nodeId' in event && event.nodeId !== context.nodeId,
      isSeen: ({ context }) => context.seenAs !== null,
      isFirstSeen: ({ context }) => context.seenAs === null,
      wasSeenAsChosen: ({ context, event }) => event.type === 'approve' && context.seenAs === event.nodeId,
      isConfigured: ({ context }) => context.desired !== null,
      isSameNodeState: ({ context, event }) => event.type === 'nodeState' && event.state === context.node,
      nodeIsThere: ({ context }) => context.node !== 'offline' && context.node !== 'unknown',
      /** The node of a device that waits for it is there. */
      comesWithWork: ({ context, event }) => event.type === 'nodeState' && isThere(event.state) && context.desired !== null,
      comesBackUnanswered: ({ context, event }) => event.type === 'nodeState' && isThere(event.state) && context.silent,
      isSameHealth: ({ context, event }) => event.type === 'nodeHealth' && isSameHealth(context, event),
      changesThreshold: ({ context, event }) => event.type === 'configure' && thresholdChanges(context, event),
      isOtherRevision: ({ context, event }) => event.type === 'report' && !isPresent(context, event),
      /** Perhaps it is what was pushed: a node that has another key cannot tell. */
      refusesWhatIsNotOurs: ({ context, event }) =>
        event.type === 'report' && event.nodeId === context.nodeId && event.phase === 'rejected' && event.desiredRevision === null,
      saysNothingNew: ({ context, event }, state: OperatingState) => event.type === 'report' && saysNothingNew(context, event, state),
      leadsTo: ({ context, event }, state: OperatingState) => event.type === 'report' && outcomeOf(event, context).state === state,
    },
    actions: {
      /** Built in: stores the report. */
      setDocument: (_args, _params: { readonly document: Json }) => {},
      /** Effect: tells the agent on its channel. */
      tellNode: (_args, _notice: NodeNotice) => {},
      unknown: assign(({ event, self }) => refuse('unknown_device', `Nobody requested the device ${self.id}: it takes no "${event.type}".`)),
      refuseNode: assign(({ context, event, self }) =>
        refuse(
          'wrong_node',
          `The device ${self.id} is node ${JSON.stringify(context.nodeId)}, not ${JSON.stringify('nodeId' in event ? event.nodeId : null)}.`,
          'nodeId',
        ),
      ),
      noteRequest: assign(({ event }) => (event.type === 'request' ? { ...requested(event), reason: 'it waits for approval' } : {})),
      noteApproval: assign(({ context, event }) =>
        event.type === 'approve'
          ? { approvedBy: event.by, orgId: event.orgId, nodeId: event.nodeId, name: event.name ?? context.hostname ?? event.nodeId }
          : {},
      ),
      forgetSeen: assign({ seenAs: null }),
      noteEnd: assign(({ event }, verb: 'denied' | 'revoked') => ('by' in event ? { endedBy: event.by, reason: `it was ${verb} by ${event.by}` } : {})),
      noteExpiry: assign({ reason: 'its code expired before anybody approved it' }),
      noteSeen: assign(({ event }) => ('nodeId' in event ? { seenAs: event.nodeId } : {})),
      noteRedeemed: assign({ redeemed: true }),
      noteNode: assign(({ event }) => (event.type === 'nodeState' ? { node: event.state } : {})),
      noteHealth: assign(({ context, event }) => (event.type === 'nodeHealth' ? { health: healthAfter(context, event) } : {})),
      save: assign(({ context, event }) => (event.type === 'configure' ? saved(context, event) : {})),
      countPush: assign(({ context }) => ({ pushes: context.pushes + 1 })),
      noteSilence: assign({ silent: true }),
      noteReport: assign(({ context, event }) =>
        event.type === 'report'
          ? {
              applied: event.appliedRevision,
              fault: outcomeOf(event, context).fault,
              silent: false,
              seenAs: event.nodeId,
              newest: newestAfter(context, event),
              ...standingAfter(context, event),
            }
          : {},
      ),
      noteRefusal: assign(({ context, event }) => (event.type === 'report' ? { fault: refusalOf(context, event) } : {})),
      countLate: assign(({ context, event }) => (event.type === 'report' ? { lateReports: context.lateReports + 1, newest: newestAfter(context, event) } : {})),
      explain: assign(({ context }, state: OperatingState) => ({ reason: reasonOf(state, context) })),
      /** To its node: who it is, and when it is hot. The node answers with how it is. */
      claimNode: sendTo(
        ({ context }) => durableActor('node', context.nodeId ?? ''),
        ({ context }): NodeOwner => ({ type: 'device', device: context.id, orgId: context.orgId ?? '', gpuHigh: gpuHighOf(context) }),
      ),
      post: sendTo(
        ({ context }) => durableActor('config', context.nodeId ?? ''),
        ({ context }): PushConfig => ({ type: 'push', deviceId: context.id, revision: context.desired?.revision ?? 0, config: context.desired?.config ?? {} }),
      ),
      awaitAnswer: raise({ type: 'unanswered' }, { id: 'unanswered', delay: 'answer' }),
      awaitNothing: cancel('unanswered'),
    },
  });

  const tellAlerts = (isOver: boolean) =>
    base.enqueueActions(({ context, enqueue }) => {
      const changes = changedConditions(context, settings.holdMs, isOver);
      if (changes.length === 0) return;
      for (const change of changes) enqueue.sendTo(durableActor('alert', `${change.nodeId}.${change.kind}`), change);
      enqueue.assign({ alerting: alertingAfter(context.alerting, changes) });
    });
  const machine = base.extend({
    actions: {
      push: base.enqueueActions(({ context, enqueue }) => {
        const { id, nodeId, desired } = context;
        if (nodeId === null || desired === null) return;
        enqueue('post');
        const { revision, config } = desired;
        enqueue({ type: 'tellNode', params: { kind: 'config_updated', nodeId, deviceId: id, revision, config } });
        enqueue('countPush');
        enqueue('awaitAnswer');
      }),
      greet: base.enqueueActions(({ context, enqueue }) => {
        enqueue('claimNode');
        if (context.nodeId !== null) enqueue({ type: 'tellNode', params: { kind: 'device_redeemed', nodeId: context.nodeId } });
      }),
      keepReport: base.enqueueActions(({ event, enqueue }) => {
        if (event.type !== 'report') return;
        const report: Partial<Report> = { ...event };
        delete (report as { type?: string }).type;
        enqueue({ type: 'setDocument', params: { document: report as unknown as Json } });
      }),
      tellAlerts: tellAlerts(false),
      endAlerts: tellAlerts(true),
    },
  });

  const unknown = { actions: 'unknown' } as const;
  const revoked = { target: '#revoked', actions: [{ type: 'noteEnd', params: 'revoked' }, 'endAlerts'] } as const;

  /** What every state of an approved device has. */
  function operating<State extends OperatingState>(state: State, description: string, tag: 'waits' | 'attention' | 'running') {
    const explain = { type: 'explain', params: state } as const;
    return {
      meta: { description },
      tags: tag,
      entry: explain, // (1)
      on: {
        nodeState: [{ guard: 'isStrangeNode' }, { guard: 'isSameNodeState' }, { actions: ['noteNode', explain, 'tellAlerts'] }],
        report: { guard: { type: 'saysNothingNew', params: state }, actions: 'keepReport' }, // (4)
      },
    } as const;
  }
  const leads = <State extends OperatingState>(state: State) =>
    ({ guard: { type: 'leadsTo', params: state }, target: `.${state}`, actions: ['noteReport', 'keepReport'] }) as const;

  const registered = operating('registered', 'Approved. It waits for its node to report, or for a configuration.', 'waits');
  const configuring = operating('configuring', 'A configuration was pushed to its node; the agent applies it and reports.', 'waits');
  const explainRegistered = registered.entry;
  const explainConfiguring = configuring.entry;

  return machine.createMachine({
    id: 'device',
    context: ({ input }) => input,
    initial: 'unclaimed',
    states: {
      unclaimed: {
        meta: { description: 'A node named it, and nobody requested it. It is forgotten after a while.' },
        tags: ['quiet'],
        on: {
          request: { target: 'pending', actions: 'noteRequest' },
          approve: unknown,
          deny: unknown,
          redeemed: unknown,
          configure: unknown,
          report: unknown,
          revoke: unknown,
        },
      },
      pending: {
        meta: { description: 'Its code is on a screen. A person approves or denies it before the code expires.' },
        tags: ['waits'],
        on: {
          approve: [
            { guard: 'wasSeenAsChosen', target: 'active', actions: ['noteApproval', 'greet'] },
            { target: 'active', actions: ['noteApproval', 'forgetSeen'] },
          ],
          deny: { target: 'denied', actions: { type: 'noteEnd', params: 'denied' } },
          revoke: revoked,
          seen: { guard: 'isFirstSeen', actions: 'noteSeen' },
          report: { actions: 'refuseNode' },
        },
        after: { lifetime: { target: 'expired', actions: 'noteExpiry' } },
      },
      denied: { meta: { description: 'A person denied it. The machine that asked must ask again.' }, tags: ['ended'] },
      expired: { meta: { description: 'Nobody approved it in time. The machine that asked must ask again.' }, tags: ['ended'] },
      active: {
        initial: 'registered',
        on: {
          redeemed: { actions: ['noteRedeemed', 'claimNode'] },
          seen: [{ guard: 'isStrangeNode', actions: 'refuseNode' }, { actions: ['noteSeen', 'greet'] }], // (3)
          nodeHealth: [{ guard: 'isStrangeNode' }, { guard: 'isSameHealth' }, { actions: ['noteHealth', 'tellAlerts'] }],
          configure: [
            { guard: 'changesThreshold', target: '.configuring', actions: ['save', 'claimNode', 'push', 'tellAlerts'] },
            { target: '.configuring', actions: ['save', 'push', 'tellAlerts'] },
          ],
          report: [
            { guard: 'isStrangeNode', actions: 'refuseNode' }, // (3)
            { guard: 'isOtherRevision', actions: 'countLate' }, // (5)
            { guard: { type: 'leadsTo', params: 'configuring' }, target: '.configuring', actions: ['noteReport', 'keepReport', 'awaitAnswer'] },
            leads('configured'),
            leads('servicesRunning'),
            leads('partiallyRunning'),
            leads('failed'),
            leads('rolledBack'),
            leads('drifted'),
          ],
          revoke: revoked,
        },
        states: {
          registered: {
            ...registered,
            on: {
              ...registered.on,
              // (2)
              seen: [
                { guard: 'isStrangeNode', actions: 'refuseNode' },
                { guard: 'isConfigured', target: 'configuring', actions: ['noteSeen', 'greet', 'push'] },
                { actions: ['noteSeen', 'greet', explainRegistered] },
              ],
              nodeState: [
                { guard: 'isStrangeNode' },
                { guard: 'comesWithWork', target: 'configuring', actions: ['noteNode', 'noteSeen', 'push', 'tellAlerts'] },
                { guard: 'isSameNodeState' },
                { actions: ['noteNode', 'noteSeen', explainRegistered, 'tellAlerts'] },
              ],
              configure: [
                { guard: 'isSeen', target: 'configuring', actions: ['save', 'claimNode', 'push', 'tellAlerts'] },
                { actions: ['save', explainRegistered] },
              ],
            },
          },
          configuring: {
            ...configuring,
            on: {
              ...configuring.on,
              nodeState: [
                { guard: 'isStrangeNode' },
                { guard: 'isSameNodeState' },
                { guard: 'comesBackUnanswered', actions: ['noteNode', 'push', explainConfiguring, 'tellAlerts'] },
                { actions: ['noteNode', explainConfiguring, 'tellAlerts'] },
              ],
              report: [
                { guard: { type: 'saysNothingNew', params: 'configuring' }, actions: ['keepReport', 'awaitAnswer'] },
                { guard: 'refusesWhatIsNotOurs', actions: ['noteRefusal', 'countLate', explainConfiguring] },
              ],
              unanswered: [
                { guard: 'nodeIsThere', actions: ['noteSilence', 'push', explainConfiguring] }, // (2)
                { actions: ['noteSilence', explainConfiguring] },
              ],
            },
            exit: 'awaitNothing',
          },
          configured: operating('configured', 'Its configuration is in force, and there is nothing to run.', 'running'),
          servicesRunning: operating('servicesRunning', 'All its services run and are healthy.', 'running'),
          partiallyRunning: operating('partiallyRunning', 'Some of its services run, others do not.', 'attention'),
          failed: operating('failed', 'The configuration was refused or could not be applied. The reason names the service or the field.', 'attention'),
          rolledBack: operating('rolledBack', 'A revision did not get healthy in time; what ran before it runs.', 'attention'),
          drifted: operating('drifted', 'A service is not as it should be; the agent is repairing it.', 'attention'),
        },
      },
      revoked: {
        id: 'revoked',
        meta: { description: 'Its token is worthless. What runs on the node runs on, and is no concern of ours.' },
        tags: ['ended'],
        on: { report: { actions: 'countLate' } },
      },
    },
  });
}

function isThere(state: string): boolean {
  return state === 'online' || state === 'degraded';
}

function isSameHealth(context: DeviceContext, event: Extract<DeviceEvent, { type: 'nodeHealth' }>): boolean {
  const { services, gpu } = healthAfter(context, event);
  return services === context.health.services && gpu === context.health.gpu;
}

function healthAfter({ health }: DeviceContext, event: Extract<DeviceEvent, { type: 'nodeHealth' }>): DeviceContext['health'] {
  const { services = health.services, gpu = health.gpu, gpuTemperature = null } = event;
  return { services, gpu, celsius: event.gpu === undefined ? health.celsius : gpuTemperature };
}

function thresholdChanges(context: DeviceContext, event: Extract<DeviceEvent, { type: 'configure' }>): boolean {
  return event.config.alertOnHighTemp !== undefined && gpuHighOf({ ...context, ...saved(context, event) }) !== gpuHighOf(context);
}

function saysNothingNew(context: DeviceContext, report: Report, state: OperatingState): boolean {
  if (report.nodeId !== context.nodeId || !isPresent(context, report) || context.silent) return false;
  const outcome = outcomeOf(report, context);
  return outcome.state === state && outcome.fault === context.fault && report.appliedRevision === context.applied;
}

/** What the node took on of what was desired, and whether it gave it back. A drift tells neither. */
function standingAfter({ desired }: DeviceContext, { phase, desiredRevision, appliedRevision }: Report): Partial<DeviceContext> {
  if (desired === null || desiredRevision !== desired.revision || phase === 'applying' || phase === 'drifted') return {};
  if (appliedRevision === desired.revision) return { standing: desired.config.services ?? [], takenBack: false };
  return { takenBack: phase === 'rolled-back' || phase === 'rejected' || phase === 'failed' };
}

function newestAfter({ newest }: DeviceContext, { desiredRevision, appliedRevision }: Report): number {
  return Math.max(newest, desiredRevision ?? 0, appliedRevision ?? 0);
}

function refuse(code: string, message: string, field?: string): never {
  throw new EventRejectedError(code, message, field);
}
