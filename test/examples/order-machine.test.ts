/** The order approval as specifications of its machines: no Redis, a virtual clock, every step run twice. */
import { describe, expect, it } from 'vitest';
import { given } from '../../src/testing/index.ts';
import { orderType, stockType } from '../../examples/order-approval/actor-types.ts';
import { createOutside, createServices } from '../../examples/order-approval/services.ts';

const SETTINGS = { clerkMs: 60_000, managerMs: 60_000, retryMs: 100, riskAttemptsMax: 3, riskMax: 0.8 };
const order = orderType(
  createServices(() => {}),
  createOutside(() => {}),
  SETTINGS,
);
const submit = { type: 'submit', customer: 'ada@example.com', sku: 'teapot', quantity: 2, totalCents: 4_800 };
const failure = { ok: false, error: { name: 'Error', message: '503' } } as const;

const submitted = () => given(order, { id: 'o-1' }).when(submit);
const inApproval = () => submitted().settle('risk', { ok: true, output: 0.1 });
const paid = () =>
  inApproval()
    .when({ type: 'approve', by: 'carl' })
    .settle('payment|authorise', { ok: true, output: { authorisation: 'auth-1' } })
    .settle('payment|capture', { ok: true, output: { receipt: 'r-1' } });

describe('an order', () => {
  it('begins with what was submitted, and refuses what is not an order', () => {
    expect(submitted().context).toMatchObject({ id: 'o-1', sku: 'teapot', quantity: 2, riskAttempts: 0 });
    expect(given(order).rejects({ ...submit, quantity: 0 })).toMatchObject({ code: 'invalid_event', field: 'quantity' });
  });

  it('asks for the risk again after pauses that double, and goes on when the third answer comes', () => {
    const actor = submitted().settle('risk', failure);
    expect(actor).toMatchObject({ value: { checkingRisk: 'pausing' }, timers: [{ inMs: 100 }] });
    expect(actor.after(100).settle('risk', failure).timers).toMatchObject([{ inMs: 200 }]);
    expect(actor.after(200).invocations).toMatchObject({ '|risk': { input: { attempt: 3 } } });
    expect(actor.settle('risk', { ok: true, output: 0.1 }).value).toEqual({ approval: 'clerk' });
  });

  it('is rejected when the risk is high, or cannot be known', () => {
    expect(submitted().settle('risk', { ok: true, output: 0.9 })).toMatchObject({ value: 'rejected', status: 'done' });
    const actor = submitted().settle('risk', failure).after(100).settle('risk', failure).after(200).settle('risk', failure);
    expect(actor).toMatchObject({ value: 'rejected', commands: [{ name: 'notifyCustomer' }] });
  });

  it('goes to the manager when the clerk is silent, and expires when the manager is', () => {
    const actor = inApproval().after(59_999);
    expect(actor.value).toEqual({ approval: 'clerk' });
    expect(actor.after(1)).toMatchObject({
      value: { approval: 'manager' },
      commands: [{ name: 'askManager', params: { order: 'o-1', totalCents: 4_800 } }],
    });
    expect(actor.after(60_000)).toMatchObject({ value: 'expired', emitted: [{ type: 'orderClosed', order: 'o-1', how: 'expired' }] });
    expect(actor.timers).toEqual([]);
  });

  it('takes an approval in the last millisecond, and no timer comes after it', () => {
    const actor = inApproval().after(119_999).when({ type: 'approve', by: 'mia' });
    expect(actor).toMatchObject({ value: 'paying', context: { approvedBy: 'mia' }, timers: [] });
    expect(actor.after(1_000_000).value).toBe('paying');
  });

  it('pays in two halves as a child, under one key', () => {
    const actor = inApproval().when({ type: 'approve', by: 'carl' });
    expect(actor.invocations).toMatchObject({ 'payment|authorise': { input: { key: 'order-o-1', totalCents: 4_800 } } });
    actor.settle('payment|authorise', { ok: true, output: { authorisation: 'auth-1' } });
    expect(actor.invocations).toMatchObject({ 'payment|capture': { input: { key: 'order-o-1', authorisation: 'auth-1' } } });
    expect(actor.settle('payment|capture', { ok: true, output: { receipt: 'r-1' } })).toMatchObject({
      value: 'reserving',
      context: { receipt: 'r-1' },
      messages: [{ to: 'stock/teapot', event: { type: 'reserve', order: 'o-1', quantity: 2 } }],
    });
    expect(actor.children).toEqual({});
  });

  it('is rejected when the payment is declined', () => {
    expect(inApproval().when({ type: 'approve', by: 'carl' }).settle('payment|authorise', failure)).toMatchObject({ value: 'rejected', messages: [] });
  });

  it('is shipped when the stock has reserved, and waits for a person when it is sold out', () => {
    expect(paid().when({ type: 'reserved', left: 3 })).toMatchObject({
      value: 'shipped',
      status: 'done',
      commands: [{ name: 'notifyCustomer', params: { to: 'ada@example.com', text: '2 × teapot is on its way.' } }],
      emitted: [{ type: 'orderClosed', how: 'shipped' }],
    });
    expect(paid().when({ type: 'soldOut', left: 1 })).toMatchObject({ value: 'backordered', tags: ['open', 'attention'] });
  });
});

describe('a stock', () => {
  it('reserves what it has and answers', () => {
    const stock = given(stockType, { id: 'teapot' }).when({ type: 'deliver', quantity: 3 });
    expect(stock.when({ type: 'reserve', order: 'o-1', quantity: 2 })).toMatchObject({
      context: { sku: 'teapot', left: 1 },
      messages: [{ to: 'order/o-1', event: { type: 'reserved', left: 1 } }],
    });
    expect(stock.when({ type: 'reserve', order: 'o-2', quantity: 2 })).toMatchObject({
      context: { left: 1 },
      messages: [{ to: 'order/o-2', event: { type: 'soldOut', left: 1 } }],
    });
  });
});
