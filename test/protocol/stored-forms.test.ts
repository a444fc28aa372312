/** What is written to Redis in a short form comes back as it was. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodePack, encodePack } from '../../src/protocol/feed-pack.ts';
import type { ActorRecord, TimerState, Transition } from '../../src/protocol/record.ts';
import { decodeRecord, encodeRecord } from '../../src/protocol/stored-record.ts';
import type { Command } from '../../src/protocol/command.ts';
import type { Stimulus } from '../../src/protocol/envelope.ts';
import type { Json } from '../../src/protocol/json.ts';

const name = fc.stringMatching(/^[a-z]{1,6}$/);
const json = fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.parse(JSON.stringify(value)) as Json);
const fields = fc.dictionary(name, json, { maxKeys: 3, noNullPrototype: true });
const event = fc.tuple(name, fields).map(([type, rest]) => ({ ...rest, type }));
const stateValue: fc.Arbitrary<Json> = fc.oneof(
  name,
  fc.dictionary(name, fc.oneof(name, fc.dictionary(name, name, { minKeys: 1, maxKeys: 3, noNullPrototype: true })), {
    minKeys: 1,
    maxKeys: 3,
    noNullPrototype: true,
  }),
  fc.constant({}),
);
const timer = fc
  .tuple(
    event,
    fc.constantFrom('clock' as const, 'liveness' as const),
    fc.nat(),
    fc.nat(),
    fc.nat(9),
    fc.option(name, { nil: undefined }),
    fc.boolean(),
    fc.integer({ min: 1 }),
  )
  .map(([sent, clock, delayMs, revision, index, target, toActor, deadlineMs]): TimerState => ({
    event: sent as TimerState['event'],
    clock,
    delayMs,
    armed: [revision, index],
    ...(clock === 'liveness' ? { deadlineMs } : {}),
    ...(target === undefined ? {} : { target }),
    ...(toActor ? { to: 'fleet/a' } : {}),
  }));

/** The active leaves of a value, as the kernel names them. */
function leaves(value: Json, parent = ''): readonly string[] {
  if (typeof value === 'string') return [parent === '' ? value : `${parent}.${value}`];
  return Object.entries(value as { [key: string]: Json }).flatMap(([key, below]) => leaves(below, parent === '' ? key : `${parent}.${key}`));
}

const record: fc.Arbitrary<ActorRecord> = fc
  .record({
    value: stateValue,
    context: json,
    history: fields,
    status: fc.constantFrom('active', 'done', 'error'),
    output: fc.option(json, { nil: undefined }),
    createdAt: fc.nat(2_000_000_000_000),
    after: fc.array(fc.nat(1_000_000), { minLength: 20, maxLength: 20 }),
    atCreation: fc.boolean(),
    oddPaths: fc.boolean(),
    timers: fc.dictionary(
      fc.tuple(fc.constantFrom('|', '|xstate.after.', 'child|', 'child|xstate.after.', '|>', '>|'), name).map(([before, id]) => before + id),
      timer,
      { maxKeys: 3, noNullPrototype: true },
    ),
    children: fc.dictionary(name, fc.record({ source: name, snapshot: json }), { maxKeys: 2, noNullPrototype: true }),
    head: fc.option(fc.constant('3:17-4:0'), { nil: null }),
    parked: fc.option(name, { nil: undefined }),
  })
  .map(({ value, context, history, status, output, createdAt, after, atCreation, oddPaths, timers, children, head, parked }) => ({
    revision: 7,
    version: '1',
    status: status as ActorRecord['status'],
    snapshot: { status, value, context, historyValue: history, ...(output === undefined ? {} : { output }) } as Json,
    entered: Object.fromEntries(
      (oddPaths ? ['not', 'a.leaf'] : leaves(value)).map((path, index) => [path, createdAt + (atCreation ? 0 : (after[index] ?? 0))]),
    ),
    timers,
    children,
    invocations: {},
    createdAt,
    updatedAt: createdAt + 5,
    head,
    ...(parked === undefined ? {} : { parked }),
  }));

const stimulus: fc.Arbitrary<Stimulus> = fc.oneof(
  event.map((sent): Stimulus => ({ kind: 'event', event: sent as never })),
  name.map((id): Stimulus => ({ kind: 'timer', timer: `|${id}` })),
  json.map((output): Stimulus => ({ kind: 'settled', invocation: '|risk', token: 't', outcome: { ok: true, output } })),
);
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.tuple(name, json).map(([effect, params]): Command => ({ kind: 'effect', name: effect, params })),
  event.map((sent): Command => ({ kind: 'message', to: 'fleet/a', event: sent as never })),
);
const transition: fc.Arbitrary<Transition> = fc.record(
  {
    key: name.map((id) => `thing/${id}` as const),
    revision: fc.nat(),
    at: fc.nat(),
    stimulus,
    cause: fc.oneof(
      fc.record({ source: fc.constantFrom('library', 'stream:node:status:stream', 'stream:other'), ref: name }),
      fc.record({ source: fc.constant('http'), ref: name, causation: name }),
      fc.record({ source: fc.constant('http'), ref: name, traceparent: name }),
    ),
    version: name,
    from: fc.oneof(stateValue, fc.constant(null)),
    to: stateValue,
    commands: fc.array(command, { maxLength: 2 }),
    emitted: fc.array(event as never, { maxLength: 2 }),
    logs: fc.array(json, { maxLength: 2 }),
    previous: fc.option(fc.constant('1:2-3:4'), { nil: null }),
    checkpoint: record,
  },
  { requiredKeys: ['key', 'revision', 'at', 'stimulus', 'cause', 'version', 'from', 'to', 'commands', 'emitted', 'logs', 'previous'] },
) as unknown as fc.Arbitrary<Transition>;

describe('stored forms', () => {
  it('give a record back as it was', () => {
    fc.assert(
      fc.property(record, (one) => {
        expect(decodeRecord(encodeRecord(one))).toEqual(one);
      }),
    );
  });

  it('give the transitions of a pack back as they were', () => {
    fc.assert(
      fc.property(fc.array(transition, { maxLength: 4 }), (all) => {
        expect(decodePack('thing', encodePack(all))).toEqual(all);
      }),
    );
  });

  it('leave the document out of the journal', () => {
    const pack = encodePack([
      {
        key: 'node/a',
        revision: 1,
        at: 1,
        stimulus: { kind: 'event', event: { type: 'status' }, document: '{"secret":1}' },
        cause: { source: 'library', ref: '1-0' },
        version: '1',
        from: null,
        to: 'on',
        commands: [],
        emitted: [],
        logs: [],
        previous: null,
      },
    ]);
    expect(pack).not.toContain('secret');
    expect(pack.length).toBeLessThan(80);
  });
});
