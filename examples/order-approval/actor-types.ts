/** The two actor types: each machine with its events and with what its effects do. */
import { actorType } from '../../src/index.ts';
import { orderEvents, stockEvents } from './events.ts';
import { createOrderMachine, stockMachine, type Notice, type OrderSettings, type Services } from './machine.ts';

/** What the effects reach: the mail service and the manager's task list. */
export interface Outside {
  mail(notice: Notice, idempotencyKey: string): Promise<void>;
  addTask(text: string, idempotencyKey: string): Promise<void>;
}

export function orderType(services: Services, outside: Outside, settings?: OrderSettings) {
  return actorType({
    type: 'order',
    version: '1',
    machine: createOrderMachine(services, settings),
    events: orderEvents,
    // The first event is `submit`, checked by its schema; an order that anything else would create is empty and never leaves `new`.
    input: (id, { customer = '', sku = '', quantity = 0, totalCents = 0 }) => ({ id, customer, sku, quantity, totalCents }),
    executors: {
      notifyCustomer: async ({ params, key }) => await outside.mail(params, key),
      askManager: async ({ params, key }) => await outside.addTask(`Decide on order ${params.order} (${params.totalCents / 100} €)`, key),
    },
  });
}

export const stockType = actorType({ type: 'stock', version: '1', machine: stockMachine, events: stockEvents });
