/** What only shows when a machine runs is refused by the step: the event goes to the dead letters, the actor stays. */
import { describe, expect, it } from 'vitest';
import { assign, emit, enqueueActions, fromPromise, log, raise, sendTo, setup, stopChild } from 'xstate';
import { z } from 'zod';
import { durableActor } from '../../src/protocol/actor-reference.ts';
import { registerActorType, serialize, step } from '../../src/core/kernel.ts';
import type { LiveActor } from '../../src/core/decision.ts';

const good = setup({}).createMachine({
  id: 'good',
  on: {
    BOOM: {
      actions: assign(() => {
        throw new Error('child broke');
      }),
    },
  },
});

const anything: { [field: string]: unknown } = {};
const machine = setup({
  types: { context: anything, events: {} as { type: string } },
  actors: { good, load: fromPromise(async () => await Promise.resolve(1)) },
  actions: { effect: (_, _params?: object) => {} },
}).createMachine({
  id: 'm',
  context: {},
  on: {
    noId: { actions: assign({ ref: ({ spawn }) => spawn('good') }) },
    inlineActor: { actions: assign({ ref: ({ spawn }) => spawn(good as never, { id: 'x' } as never) }) },
    system: { actions: assign({ ref: ({ spawn }) => spawn('good', { id: 'x', systemId: 's' }) }) },
    keep: { actions: assign({ ref: ({ spawn }) => spawn('good', { id: 'x' }) }) },
    stale: { actions: stopChild('x') },
    childThrows: { actions: sendTo('x', { type: 'BOOM' }) },
    nobody: { actions: sendTo('ghost', { type: 'x' }) },
    inline: { actions: enqueueActions(({ enqueue }) => enqueue(() => {})) },
    impostor: { actions: enqueueActions(({ enqueue }) => enqueue(function effect() {})) },
    undeclared: { actions: enqueueActions(({ enqueue }) => enqueue('secret' as never)) },
    noDelay: { actions: enqueueActions(({ enqueue }) => enqueue.raise({ type: 'x' }, { delay: 'never' as never })) },
    self: { actions: assign({ me: ({ self }) => self }) },
    sends: {
      actions: assign(({ self }) => {
        self.send({ type: 'x' });
        return {};
      }),
    },
    map: { actions: assign({ a: () => ({ b: [new Map()] }) }) },
    hole: { actions: assign({ list: () => [1, undefined] }) },
    reference: { actions: assign({ other: () => durableActor('a', 'b') }) },
    params: { actions: { type: 'effect', params: () => ({ f: () => {} }) } },
    message: { actions: sendTo(() => durableActor('a', 'b'), { type: 'x', at: new Date(0) }) },
    emitted: { actions: emit(() => ({ type: 'x', n: Number.NaN })) },
    badLog: { actions: [log(() => ({ f: () => {}, n: 1n })), emit({ type: 'fine' })] },
    loop: { actions: raise({ type: 'loop' }) },
    born: {},
  },
});
const names = Object.keys(machine.config.on ?? {});
const plain = z.object({ type: z.string() });
const type = registerActorType({ type: 'm', version: '1', machine, events: Object.fromEntries(names.map((name) => [name, plain])), effects: ['effect'] });

function send(actor: LiveActor | null, name: string): ReturnType<typeof step> {
  return step(type, 'm/1', actor, { kind: 'event', event: { type: name } }, { at: 1, address: '0:1-1:0' });
}
function after(...events: string[]): LiveActor {
  let actor: LiveActor | null = null;
  for (const name of ['born', ...events]) {
    const decision = send(actor, name);
    if (decision.kind !== 'transition') throw new Error(JSON.stringify(decision));
    actor = decision.actor;
  }
  return actor as LiveActor;
}

describe('a step refuses', () => {
  it.each<[event: string, code: string, reason: RegExp]>([
    ['noId', 'bad_child_id', /without an id/],
    ['inlineActor', 'unknown_actor', /named in setup/],
    ['system', 'not_durable', /systemId/],
    ['nobody', 'unknown_recipient', /ghost/],
    ['inline', 'undeclared_effect', /effects/],
    ['impostor', 'inline_action', /inline function/],
    ['undeclared', 'undeclared_effect', /"secret"/],
    ['noDelay', 'bad_delay', /No delay is named "never"/],
    ['self', 'context_not_json', /me refers to the actor/],
    ['sends', 'imperative_call', /use raise\(\)/],
    ['map', 'context_not_json', /a\.b\[0\] is a Map/],
    ['hole', 'context_not_json', /list\[1\] is undefined/],
    ['reference', 'context_not_json', /other is a reference made by durableActor/],
    ['params', 'params_not_json', /function/],
    ['message', 'event_not_json', /Date/],
    ['emitted', 'event_not_json', /NaN/],
    ['loop', 'too_many_microsteps', /1000|1,000/],
  ])('%s with %s', (event, code, reason) => {
    const actor = after();
    const stored = serialize(actor);
    const decision = send(actor, event);
    expect(decision).toMatchObject({ kind: 'rejected', rejection: { code } });
    expect(decision.kind === 'rejected' && decision.rejection.reason).toMatch(reason);
    expect(serialize(actor)).toBe(stored);
  });

  it('what a child throws, and a reference to a child that has stopped', () => {
    const actor = after('keep');
    expect(send(actor, 'childThrows')).toMatchObject({ kind: 'rejected', rejection: { code: 'step_threw', reason: 'child broke' } });
    expect(send(actor, 'stale')).toMatchObject({ kind: 'rejected', rejection: { code: 'context_not_json', field: 'context.ref' } });
  });

  it('nothing because of a log', () => {
    expect(send(after(), 'badLog')).toMatchObject({ kind: 'transition', emitted: [{ type: 'fine' }], logs: ['[object Object]'] });
  });
});
