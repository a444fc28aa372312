import { describe, expect, it } from 'vitest';
import { assign, cancel, emit, log, raise, sendTo, setup } from 'xstate';
import { z } from 'zod';
import { registerActorType, restore, serialize, step } from '../../src/core/kernel.ts';
import type { Decision, LiveActor } from '../../src/core/decision.ts';
import type { Stimulus } from '../../src/protocol/envelope.ts';
import { durableActor } from '../../src/protocol/actor-reference.ts';

const any = z.object({ type: z.string() });

/** A node in miniature: beats re-arm a deadline, silence takes it offline. */
const beacon = setup({
  types: { context: {} as { beats: number }, events: {} as { type: string; n?: number } },
  actions: { setDocument: () => {}, notify: (_args, _params: { level: string }) => {} },
  delays: { deadline: 30_000, pause: ({ event }) => (event as { n?: number }).n as number },
}).createMachine({
  id: 'beacon',
  context: { beats: 0 },
  initial: 'online',
  states: {
    online: {
      after: { deadline: 'offline' },
      on: {
        beat: { target: 'online', reenter: true, actions: 'setDocument' },
        count: { actions: assign({ beats: ({ context }) => context.beats + 1 }) },
        page: { actions: [{ type: 'notify', params: { level: 'high' } }, emit({ type: 'paged' }), log('paged', 'ops')] },
        tell: { actions: sendTo(() => durableActor('fleet', 'acme'), { type: 'late' }) },
        tellLater: { actions: sendTo(() => durableActor('fleet', 'acme'), { type: 'late' }, { delay: 50, id: 'later' }) },
        forget: { actions: cancel('later') },
        snooze: { actions: raise({ type: 'count' }, { delay: 'pause', id: 'snooze' }) },
        quiet: {},
        logOnly: { actions: log('nothing') },
        zero: { actions: raise({ type: 'count' }, { delay: 0 }) },
        dated: { actions: assign({ beats: () => new Date(0) as unknown as number }) },
        throws: {
          actions: assign(() => {
            throw new Error('boom');
          }),
        },
        guarded: {
          guard: () => {
            throw new Error('bad guard');
          },
          target: 'offline',
        },
        spin: 'spinning',
      },
    },
    offline: { entry: { type: 'notify', params: { level: 'low' } }, on: { beat: 'online', stop: 'stopped' } },
    stopped: { type: 'final' },
    spinning: { always: 'spun' },
    spun: { always: 'spinning' },
  },
  output: { why: 'stopped' },
});

const events = Object.fromEntries(
  ['beat', 'count', 'page', 'tell', 'tellLater', 'forget', 'snooze', 'quiet', 'logOnly', 'zero', 'dated', 'throws', 'guarded', 'spin', 'stop'].map((name) => [
    name,
    any,
  ]),
);
const type = registerActorType({ type: 'beacon', version: '1', machine: beacon, events, effects: ['notify'], liveness: { deadline: { deadlineMs: 40_000 } } });
const KEY = 'beacon/a';
const DEADLINE = '|xstate.after.deadline.beacon.online';

let address = 0;
function run(actor: LiveActor | null, stimulus: Stimulus, at = 1_000): Decision {
  return step(type, KEY, actor, stimulus, { at, address: `0:1-1:${address++}` });
}
function send(actor: LiveActor | null, name: string, extra: { n?: number; document?: string } = {}): Decision {
  const { document, ...fields } = extra;
  return run(actor, { kind: 'event', event: { type: name, ...fields }, ...(document === undefined ? {} : { document }) });
}
function transition(decision: Decision): Extract<Decision, { kind: 'transition' }> {
  if (decision.kind !== 'transition') throw new Error(`expected a transition, got ${JSON.stringify(decision)}`);
  return decision;
}
function born(): LiveActor {
  return transition(send(null, 'quiet')).actor;
}

describe('a step', () => {
  it('creates an actor with its first event, in one revision', () => {
    const decision = transition(send(null, 'count'));
    expect(decision).toMatchObject({ from: null, to: 'online' });
    expect(Object.keys(decision.actor.record.entered)).toEqual(['online']);
    expect(decision.actor.record).toMatchObject({ revision: 1, version: '1', status: 'active', createdAt: 1_000, entered: { online: 1_000 } });
    expect(decision.actor.record.head).toMatch(/^0:1-1:\d+$/);
    expect(decision.actor.record.snapshot).toMatchObject({ value: 'online', context: { beats: 1 } });
    expect(decision.timers).toEqual([{ kind: 'arm', key: DEADLINE, clock: 'liveness', delayMs: 30_000 }]);
    expect(decision.actor.record.timers[DEADLINE]).toEqual({
      event: { type: 'xstate.after.deadline.beacon.online' },
      clock: 'liveness',
      delayMs: 30_000,
      deadlineMs: 40_000,
      armed: [1, 0],
    });
  });

  it('ignores what the machine does not handle', () => {
    expect(send(born(), 'stop')).toEqual({ kind: 'ignored' });
    expect(send(born(), 'quiet')).toEqual({ kind: 'ignored' });
    expect(send(born(), 'logOnly')).toEqual({ kind: 'ignored' });
  });

  it('touches when only a timer is re-armed and a document is set', () => {
    const actor = born();
    const decision = send(actor, 'beat', { document: '{"cpu":1}' });
    expect(decision).toEqual({
      kind: 'touch',
      actor,
      recordChanged: false,
      timers: [{ kind: 'arm', key: DEADLINE, clock: 'liveness', delayMs: 30_000 }],
      document: '{"cpu":1}',
    });
    expect((decision as { actor: LiveActor }).actor).toBe(actor);
  });

  it('does the same from a restored record', () => {
    const actor = transition(send(born(), 'count')).actor;
    const restored = restore(type, KEY, serialize(actor));
    if ('parked' in restored) throw new Error(restored.parked);
    expect(restored.record).toEqual(actor.record);
    expect(send(restored, 'beat')).toMatchObject({ kind: 'touch', recordChanged: false });
    expect(transition(send(restored, 'count')).actor.record.snapshot).toEqual(transition(send(actor, 'count')).actor.record.snapshot);
  });

  it('fires a timer: the transition, its commands, and the timer gone', () => {
    const decision = transition(run(born(), { kind: 'timer', timer: DEADLINE }, 31_000));
    expect(decision).toMatchObject({ from: 'online', to: 'offline' });
    expect(Object.keys(transition(decision).actor.record.entered)).toEqual(['offline']);
    expect(decision.commands).toEqual([{ kind: 'effect', name: 'notify', params: { level: 'low' } }]);
    expect(decision.timers).toEqual([{ kind: 'cancel', key: DEADLINE, clock: 'liveness' }]);
    expect(decision.actor.record).toMatchObject({ timers: {}, entered: { offline: 31_000 }, updatedAt: 31_000, createdAt: 1_000 });
  });

  it('ignores a timer that the record no longer has', () => {
    expect(run(born(), { kind: 'timer', timer: '|gone' })).toEqual({ kind: 'ignored' });
  });

  it('turns custom actions into commands, and keeps what is emitted and logged', () => {
    expect(transition(send(born(), 'page'))).toMatchObject({
      commands: [{ kind: 'effect', name: 'notify', params: { level: 'high' } }],
      emitted: [{ type: 'paged' }],
      logs: [{ label: 'ops', value: 'paged' }],
    });
  });

  it('turns sendTo a durable actor into a message, at once or by a timer', () => {
    const message = { kind: 'message', to: 'fleet/acme', event: { type: 'late' } };
    expect(transition(send(born(), 'tell')).commands).toEqual([message]);
    const later = transition(send(born(), 'tellLater'));
    expect(later.commands).toEqual([]);
    expect(later.actor.record.timers['|later']).toMatchObject({ to: 'fleet/acme', clock: 'clock', delayMs: 50 });
    const fired = transition(run(later.actor, { kind: 'timer', timer: '|later' }));
    expect(fired.commands).toEqual([message]);
    expect(fired.actor.record.timers).not.toHaveProperty('|later');
    expect(transition(send(later.actor, 'forget')).timers).toEqual([{ kind: 'cancel', key: '|later', clock: 'clock' }]);
    expect(send(born(), 'forget')).toEqual({ kind: 'ignored' });
  });

  it('arms a delay of 0 as a timer', () => {
    const decision = transition(send(born(), 'zero'));
    expect(decision.timers).toEqual([{ kind: 'arm', key: '|~0', clock: 'clock', delayMs: 0 }]);
    expect(transition(run(decision.actor, { kind: 'timer', timer: '|~0' })).actor.record.snapshot).toMatchObject({ context: { beats: 1 } });
  });

  it('re-arms a timer with another delay as a touch that changes the record', () => {
    const actor = transition(send(born(), 'snooze', { n: 10 })).actor;
    const touch = send(actor, 'snooze', { n: 20 });
    expect(touch).toMatchObject({ kind: 'touch', recordChanged: true, timers: [{ kind: 'arm', key: '|snooze', clock: 'clock', delayMs: 20 }] });
    expect((touch as { actor: LiveActor }).actor.record.timers['|snooze']).toEqual({ ...actor.record.timers['|snooze'], delayMs: 20 });
  });

  it.each([
    ['throws', 'step_threw'],
    ['guarded', 'guard_threw'],
    ['spin', 'too_many_microsteps'],
    ['dated', 'context_not_json'],
    ['snooze', 'bad_delay'],
    ['xstate.stop', 'reserved_event'],
  ])('rejects %s with %s', (name, code) => {
    const actor = born();
    const before = serialize(actor);
    expect(send(actor, name)).toMatchObject({ kind: 'rejected', rejection: { code } });
    expect(serialize(actor)).toBe(before);
  });

  it('drops every timer when the machine is done, and ignores all that follows', () => {
    const offline = transition(run(born(), { kind: 'timer', timer: DEADLINE })).actor;
    const done = transition(send(offline, 'stop'));
    expect(done.output).toEqual({ why: 'stopped' });
    expect(done.actor.record).toMatchObject({ status: 'done', timers: {}, snapshot: { output: { why: 'stopped' } } });
    expect(send(done.actor, 'beat')).toEqual({ kind: 'ignored' });
  });
});
