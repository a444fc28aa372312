/**
 * One kind of trouble of one node: it must last to count, is told once, and told once when it is over.
 *
 * 1. An incident has one id from firing to resolved; the next one has another. What is told in between is nothing.
 * 2. Trouble that ends within its holding time was never an incident.
 */
import { assign, setup } from 'xstate';
import type { AlertCondition, AlertNotice } from '../device/events.ts';

export type AlertContext = {
  readonly id: string;
  readonly nodeId: string;
  readonly orgId: string;
  readonly kind: AlertCondition['kind'];
  readonly reason: string;
  readonly holdMs: number;
  /** Incidents so far, the present one among them. */
  readonly incidents: number;
};

export function createAlertMachine() {
  return setup({
    types: { context: {} as AlertContext, events: {} as AlertCondition, input: {} as AlertContext },
    delays: { hold: ({ context }) => context.holdMs },
    guards: {
      isOver: ({ event }) => !event.on,
      countsAtOnce: ({ event }) => event.on && event.holdMs === 0,
      begins: ({ event }) => event.on,
    },
    actions: {
      /** Effect: posts it to the webhook, at least once, under a key that is the same at every try. */
      notifyAlert: (_args, _notice: AlertNotice) => {},
      /** Effect: tells it on the organisation's channel. An effect of its own, so that a webhook that is down holds up nobody. */
      publishAlert: (_args, _notice: AlertNotice) => {},
      note: assign(({ event }) => ({ nodeId: event.nodeId, orgId: event.orgId, kind: event.kind, reason: event.reason, holdMs: event.holdMs })),
      noteOver: assign(({ event }) => ({ reason: event.reason })),
      countIncident: assign(({ context }) => ({ incidents: context.incidents + 1 })),
    },
  }).createMachine({
    id: 'alert',
    context: ({ input }) => input,
    initial: 'quiet',
    states: {
      quiet: {
        meta: { description: 'All is well. Trouble is held for a while before it counts.' },
        tags: ['quiet'],
        on: {
          condition: [
            { guard: 'countsAtOnce', target: 'firing', actions: 'note' },
            { guard: 'begins', target: 'holding', actions: 'note' },
          ],
        },
      },
      holding: {
        meta: { description: 'There is trouble. It is an incident when it lasts.' },
        tags: ['waits'],
        on: { condition: { guard: 'isOver', target: 'quiet' } }, // (2)
        after: { hold: 'firing' },
      },
      firing: {
        meta: { description: 'An incident was told. When the trouble is over it is resolved.' },
        tags: ['attention'],
        entry: [
          'countIncident',
          { type: 'publishAlert', params: ({ context }) => noticeOf(context, 'firing') },
          { type: 'notifyAlert', params: ({ context }) => noticeOf(context, 'firing') },
        ],
        on: {
          condition: {
            guard: 'isOver',
            target: 'quiet',
            actions: [
              'noteOver',
              { type: 'publishAlert', params: ({ context }) => noticeOf(context, 'resolved') },
              { type: 'notifyAlert', params: ({ context }) => noticeOf(context, 'resolved') },
            ],
          },
        },
      },
    },
  });
}

function noticeOf({ id, incidents, nodeId, orgId, kind, reason }: AlertContext, phase: AlertNotice['phase']): AlertNotice {
  return { incident: `${id}-${incidents}`, phase, nodeId, orgId, kind, reason };
}
