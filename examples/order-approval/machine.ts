/**
 * An order that a person approves, as durable actors: `order/<id>` and `stock/<sku>`.
 *
 * 1. The machines are plain XState and name what they do to the world; nothing here sends a mail or takes money.
 * 2. What calls another service is an invoked promise and may run again after a crash: it gets a key under which a repeat is the same call.
 * 3. Order and stock talk by messages. Each is applied once and in order, so no reservation is lost or made twice.
 */
import { assign, emit, fromPromise, sendTo, setup } from 'xstate';
import { durableActor } from '../../src/index.ts';
import type { OrderEvent, StockEvent } from './events.ts';

/** The services that the machines call. Each may be called again with the same key. */
export interface Services {
  /** From 0 (harmless) to 1. */
  assessRisk(request: { readonly order: string; readonly totalCents: number; readonly attempt: number }, signal: AbortSignal): Promise<number>;
  authorise(request: { readonly key: string; readonly totalCents: number }, signal: AbortSignal): Promise<{ readonly authorisation: string }>;
  capture(request: { readonly key: string; readonly authorisation: string }, signal: AbortSignal): Promise<{ readonly receipt: string }>;
}

export interface OrderSettings {
  /** How long a clerk may think before the manager is asked, and how long the manager before the order expires. */
  readonly clerkMs: number;
  readonly managerMs: number;
  /** Pause after the first failed risk check; each further one is twice as long. */
  readonly retryMs: number;
  readonly riskAttemptsMax: number;
  /** Above it nobody is asked. */
  readonly riskMax: number;
}

export const DEFAULT_ORDER_SETTINGS: OrderSettings = { clerkMs: 86_400_000, managerMs: 259_200_000, retryMs: 1_000, riskAttemptsMax: 5, riskMax: 0.8 };

type PaymentContext = { readonly key: string; readonly totalCents: number; readonly authorisation: string; readonly receipt: string | null };

/** First the money is put aside, then it is taken: a child machine, with a record of each half. */
function createPaymentMachine(services: Services) {
  return setup({
    types: { context: {} as PaymentContext, input: {} as { readonly key: string; readonly totalCents: number }, output: {} as { receipt: string | null } },
    actors: {
      authorise: fromPromise(({ input, signal }: { input: Parameters<Services['authorise']>[0]; signal: AbortSignal }) => services.authorise(input, signal)),
      capture: fromPromise(({ input, signal }: { input: Parameters<Services['capture']>[0]; signal: AbortSignal }) => services.capture(input, signal)),
    },
  }).createMachine({
    id: 'payment',
    context: ({ input }) => ({ ...input, authorisation: '', receipt: null }),
    initial: 'authorising',
    states: {
      authorising: {
        invoke: {
          id: 'authorise',
          src: 'authorise',
          input: ({ context: { key, totalCents } }) => ({ key, totalCents }),
          onDone: { target: 'capturing', actions: assign({ authorisation: ({ event }) => event.output.authorisation }) },
          onError: 'declined',
        },
      },
      capturing: {
        invoke: {
          id: 'capture',
          src: 'capture',
          input: ({ context: { key, authorisation } }) => ({ key, authorisation }),
          onDone: { target: 'paid', actions: assign({ receipt: ({ event }) => event.output.receipt }) },
          onError: 'declined',
        },
      },
      paid: { type: 'final' },
      declined: { type: 'final' },
    },
    output: ({ context }) => ({ receipt: context.receipt }),
  });
}

export type OrderContext = {
  readonly id: string;
  readonly customer: string;
  readonly sku: string;
  readonly quantity: number;
  readonly totalCents: number;
  readonly riskAttempts: number;
  readonly approvedBy: string | null;
  readonly receipt: string | null;
};

export type OrderInput = Pick<OrderContext, 'id' | 'customer' | 'sku' | 'quantity' | 'totalCents'>;

/** Parameters of the effect `notifyCustomer`. */
export type Notice = { readonly to: string; readonly text: string };

export function createOrderMachine(services: Services, settings: OrderSettings = DEFAULT_ORDER_SETTINGS) {
  return setup({
    types: {
      context: {} as OrderContext,
      events: {} as OrderEvent,
      input: {} as OrderInput,
      emitted: {} as { readonly type: 'orderClosed'; readonly order: string; readonly how: 'shipped' | 'rejected' | 'expired' },
    },
    actors: {
      assessRisk: fromPromise(({ input, signal }: { input: Parameters<Services['assessRisk']>[0]; signal: AbortSignal }) => services.assessRisk(input, signal)),
      payment: createPaymentMachine(services),
    },
    delays: {
      clerk: settings.clerkMs,
      manager: settings.managerMs,
      retry: ({ context }) => settings.retryMs * 2 ** (context.riskAttempts - 1),
    },
    guards: {
      mayTryAgain: ({ context }) => context.riskAttempts + 1 < settings.riskAttemptsMax,
    },
    actions: {
      /** Effect: a mail to the customer. */
      notifyCustomer: (_args, _notice: Notice) => {},
      /** Effect: a task in the manager's list. */
      askManager: (_args, _task: { readonly order: string; readonly totalCents: number }) => {},
      countRiskAttempt: assign({ riskAttempts: ({ context }) => context.riskAttempts + 1 }),
      noteApproval: assign({ approvedBy: (_args, by: string) => by }),
      reserve: sendTo(
        ({ context }) => durableActor('stock', context.sku),
        ({ context }) => ({ type: 'reserve', order: context.id, quantity: context.quantity }),
      ),
    },
  }).createMachine({
    id: 'order',
    context: ({ input }) => ({ ...input, riskAttempts: 0, approvedBy: null, receipt: null }),
    initial: 'new',
    states: {
      new: { on: { submit: 'checkingRisk' } },
      checkingRisk: {
        tags: ['open'],
        initial: 'asking',
        states: {
          asking: {
            invoke: {
              id: 'risk',
              src: 'assessRisk',
              input: ({ context }) => ({ order: context.id, totalCents: context.totalCents, attempt: context.riskAttempts + 1 }),
              onDone: [{ guard: ({ event }) => event.output > settings.riskMax, target: '#order.rejected' }, { target: '#order.approval' }],
              onError: [{ guard: 'mayTryAgain', target: 'pausing', actions: 'countRiskAttempt' }, { target: '#order.rejected' }],
            },
          },
          pausing: { after: { retry: 'asking' } },
        },
      },
      approval: {
        tags: ['open'],
        initial: 'clerk',
        on: {
          approve: { target: 'paying', actions: { type: 'noteApproval', params: ({ event }) => event.by } },
          reject: 'rejected',
        },
        states: {
          clerk: { after: { clerk: 'manager' } },
          manager: {
            entry: { type: 'askManager', params: ({ context }) => ({ order: context.id, totalCents: context.totalCents }) },
            after: { manager: '#order.expired' },
          },
        },
      },
      paying: {
        tags: ['open'],
        invoke: {
          id: 'payment',
          src: 'payment',
          input: ({ context }) => ({ key: `order-${context.id}`, totalCents: context.totalCents }),
          onDone: [
            { guard: ({ event }) => event.output.receipt === null, target: 'rejected' },
            { target: 'reserving', actions: assign({ receipt: ({ event }) => event.output.receipt }) },
          ],
        },
      },
      reserving: {
        tags: ['open'],
        entry: 'reserve',
        on: { reserved: 'shipped', soldOut: 'backordered' },
      },
      /** Paid, and nothing to send: a person looks after it. */
      backordered: { tags: ['open', 'attention'], on: { reserved: 'shipped' } },
      shipped: {
        type: 'final',
        entry: [
          { type: 'notifyCustomer', params: ({ context }) => ({ to: context.customer, text: `${context.quantity} × ${context.sku} is on its way.` }) },
          emit(({ context }) => ({ type: 'orderClosed', order: context.id, how: 'shipped' })),
        ],
      },
      rejected: {
        type: 'final',
        entry: [
          { type: 'notifyCustomer', params: ({ context }) => ({ to: context.customer, text: 'We cannot take this order.' }) },
          emit(({ context }) => ({ type: 'orderClosed', order: context.id, how: 'rejected' })),
        ],
      },
      expired: {
        type: 'final',
        entry: [
          { type: 'notifyCustomer', params: ({ context }) => ({ to: context.customer, text: 'Nobody approved this order in time.' }) },
          emit(({ context }) => ({ type: 'orderClosed', order: context.id, how: 'expired' })),
        ],
      },
    },
  });
}

export const stockMachine = setup({
  types: { context: {} as { readonly sku: string; readonly left: number }, events: {} as StockEvent, input: {} as { readonly id: string } },
  guards: {
    hasEnough: ({ context, event }) => event.type === 'reserve' && event.quantity <= context.left,
  },
  actions: {
    take: assign({ left: ({ context, event }) => (event.type === 'reserve' ? context.left - event.quantity : context.left) }),
    put: assign({ left: ({ context, event }) => (event.type === 'deliver' ? context.left + event.quantity : context.left) }),
    answer: sendTo(
      ({ event }) => durableActor('order', event.type === 'reserve' ? event.order : ''),
      ({ context }, type: 'reserved' | 'soldOut') => ({ type, left: context.left }),
    ),
  },
}).createMachine({
  id: 'stock',
  context: ({ input }) => ({ sku: input.id, left: 0 }),
  on: {
    deliver: { actions: 'put' },
    reserve: [{ guard: 'hasEnough', actions: ['take', { type: 'answer', params: 'reserved' }] }, { actions: { type: 'answer', params: 'soldOut' } }],
  },
});
