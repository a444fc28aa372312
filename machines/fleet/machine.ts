/**
 * The brake: when most of a fleet falls silent at once, the fault is more likely ours or the network's than theirs.
 *
 * Holds two counts, of members and of late members, and answers each node that asks whether it is offline.
 *
 * 1. The brake is pulled by a question, not by the counts: an incident opens only when a node would otherwise have been
 *    declared offline. It opens once and is resolved once, whatever happens between.
 * 2. While the rule holds, and for one whole offline deadline after it no longer does (`easing`), the verdict is `unknown`.
 *    Without the easing a healing network would be punished: as soon as the share falls below the rule, the nodes whose
 *    beat has not come round yet would be declared offline.
 * 3. Nodes that are `unknown` ask again every interval (the node's machine), so after the brake is off each is soon
 *    online or offline. While it holds they stay unknown; an operator who knows better sends `release`.
 * 4. The counts are exact if each node's messages arrive once and in order: the protocol stands in the node's machine.
 */
import { assign, sendTo, setup } from 'xstate';
import { durableActor } from '../../src/protocol/actor-reference.ts';
import type { FleetEvent, FleetIncident } from './events.ts';

export interface BrakeSettings {
  /** The brake is never pulled for so few late nodes or fewer. */
  readonly lateMoreThan: number;
  /** … and only when at least this share of the fleet is late. */
  readonly lateShare: number;
}

/** The rule by which Kubernetes calls a whole zone disrupted. */
export const DEFAULT_BRAKE: BrakeSettings = { lateMoreThan: 2, lateShare: 0.55 };

export type FleetContext = {
  readonly org: string;
  /** Members: nodes that are heard or late, not those declared offline. */
  readonly total: number;
  readonly late: number;
};

/** `easingMs`: how long the brake holds on after the rule stopped holding. */
export function createFleetMachine(brake: BrakeSettings, easingMs: number) {
  const manyLate = ({ total, late }: FleetContext) => late > brake.lateMoreThan && late >= brake.lateShare * total;

  return setup({
    types: {
      context: {} as FleetContext,
      events: {} as FleetEvent,
      input: {} as { readonly org: string },
    },
    delays: { easing: easingMs },
    guards: {
      manyLate: ({ context }) => manyLate(context),
      fewLate: ({ context }) => !manyLate(context),
    },
    actions: {
      /** Effect: tells the world once that many nodes fell silent together, and once that it is over. */
      publishFleetIncident: (_args, _incident: FleetIncident) => {},
      count: assign(({ context }, change: { readonly total: number; readonly late: number }) => ({
        total: context.total + change.total,
        late: context.late + change.late,
      })),
      answer: sendTo(
        ({ event }) => durableActor('node', event.type === 'ask' ? event.nodeId : ''),
        (_args, verdict: 'offline' | 'unknown') => ({ type: 'verdict', verdict }),
      ),
    },
  }).createMachine({
    id: 'fleet',
    context: ({ input }) => ({ org: input.org, total: 0, late: 0 }),
    initial: 'calm',
    on: {
      joined: { actions: { type: 'count', params: { total: 1, late: 0 } } },
      late: { actions: { type: 'count', params: { total: 0, late: 1 } } },
      back: { actions: { type: 'count', params: { total: 0, late: -1 } } },
      gone: { actions: { type: 'count', params: { total: -1, late: -1 } } },
      left: { actions: { type: 'count', params: { total: -1, late: 0 } } },
    },
    states: {
      calm: {
        id: 'calm',
        meta: { description: 'A node that asks is declared offline, unless so many are late that the brake is pulled.' },
        tags: ['healthy'],
        on: {
          ask: [
            { guard: 'manyLate', target: 'braking', actions: { type: 'answer', params: 'unknown' } }, // (1)
            { actions: { type: 'answer', params: 'offline' } },
          ],
        },
      },
      braking: {
        id: 'braking',
        meta: { description: 'Most of the fleet fell silent together: nobody is declared offline. One incident is open.' },
        tags: ['attention'],
        entry: { type: 'publishFleetIncident', params: ({ context }) => incident(context, 'opened', openedReason(context)) },
        initial: 'holding',
        on: {
          ask: { actions: { type: 'answer', params: 'unknown' } },
          release: {
            target: 'released',
            actions: { type: 'publishFleetIncident', params: ({ context }) => incident(context, 'resolved', 'released by an operator') },
          },
        },
        states: {
          holding: {
            meta: { description: 'The rule holds. When fewer are late the brake eases; an operator may release it.' },
            tags: ['attention'],
            always: { guard: 'fewLate', target: 'easing' },
          },
          easing: {
            id: 'easing',
            meta: { description: 'Fewer nodes are late. The others have one whole offline deadline to be heard before the brake is off.' },
            tags: ['attention'],
            always: { guard: 'manyLate', target: 'holding' },
            after: {
              easing: {
                target: '#calm',
                actions: {
                  type: 'publishFleetIncident',
                  params: ({ context }) => incident(context, 'resolved', `${context.late} of ${context.total} nodes are late`),
                },
              },
            },
          },
        },
      },
      released: {
        meta: { description: 'An operator said that the silent nodes are lost: each that asks is declared offline. Calm when few are late.' },
        tags: ['attention'],
        on: { ask: { actions: { type: 'answer', params: 'offline' } } },
        always: { guard: 'fewLate', target: 'calm' },
      },
    },
  });
}

function incident(context: FleetContext, kind: FleetIncident['incident'], reason: string): FleetIncident {
  return { orgId: context.org, incident: kind, total: context.total, late: context.late, reason };
}

function openedReason({ late, total }: FleetContext): string {
  return `${late} of ${total} nodes are late at once: a common fault is more likely than so many single ones`;
}
