/**
 * Properties over random lives of a machine with everything in it. The test kit underneath runs each step twice (live, and
 * restored with frozen context) and folds each journal entry; here the whole journal is folded, and XState itself is the oracle.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createActor, SimulatedClock } from 'xstate';
import { fold, registerActorType } from '../../src/core/kernel.ts';
import { given, type TestActor } from '../../src/testing/index.ts';
import { family, familyEvents, familyMachine } from './family.ts';

const type = registerActorType(family);

type Act =
  | { readonly do: 'send'; readonly event: string }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'settle'; readonly pick: number; readonly ok: boolean };

const send = fc.constantFrom(...familyEvents).map((event): Act => ({ do: 'send', event }));
const wait = fc.integer({ min: 0, max: 150 }).map((ms): Act => ({ do: 'wait', ms }));
const settle = fc.record({ pick: fc.nat(5), ok: fc.boolean() }).map(({ pick, ok }): Act => ({ do: 'settle', pick, ok }));
const life = fc.array(fc.oneof({ weight: 6, arbitrary: send }, { weight: 3, arbitrary: wait }, { weight: 1, arbitrary: settle }), {
  minLength: 1,
  maxLength: 25,
});

function live(actor: TestActor, act: Act): void {
  if (act.do === 'send') actor.when({ type: act.event }, { some: 'document' });
  else if (act.do === 'wait') actor.after(act.ms);
  else {
    const keys = Object.keys(actor.invocations);
    const key = keys[act.pick % Math.max(1, keys.length)];
    if (key !== undefined) actor.settle(key, act.ok ? { ok: true, output: 'x' } : { ok: false, error: { name: 'Error', message: 'no' } });
  }
}

describe('any life of an actor', () => {
  it('can be repeated step by step, and its journal folds to its record from the start and from any checkpoint', () => {
    fc.assert(
      fc.property(life, fc.nat(24), (acts, cut) => {
        const actor = given(type);
        for (const act of acts) live(actor, act);
        if (!actor.exists) return;
        const { journal } = actor;
        const addresses = journal.map((_, index) => `0:1-${index + 1}:0`);
        const folded = fold(type, actor.key, null, journal, addresses);
        if (folded.kind !== 'folded') throw new Error(folded.reason);
        expect(folded.actor.record).toEqual(actor.record);

        const at = Math.min(cut, journal.length);
        const checkpoint = fold(type, actor.key, null, journal.slice(0, at), addresses);
        if (checkpoint.kind !== 'folded') return;
        const rest = fold(type, actor.key, checkpoint.actor.record, journal.slice(at), addresses.slice(at));
        if (rest.kind !== 'folded') throw new Error(rest.reason);
        expect(rest.actor.record).toEqual(actor.record);
      }),
      { numRuns: 300 },
    );
  });

  it('has contiguous revisions, timers that match the record, and nothing left when it is over', () => {
    fc.assert(
      fc.property(life, (acts) => {
        const actor = given(type);
        for (const act of acts) {
          live(actor, act);
          if (!actor.exists) continue;
          expect(actor.timers.map(({ key }) => key).sort()).toEqual(Object.keys(actor.record.timers).sort());
          expect(Object.keys(actor.record.entered).sort()).toEqual([...actor.states].sort());
        }
        expect(actor.journal.map(({ revision }) => revision)).toEqual(actor.journal.map((_, index) => index + 1));
      }),
      { numRuns: 200 },
    );
  });

  it('agrees with XState running the same machine live', () => {
    const withoutPromises = familyEvents.filter((event) => event !== 'LOAD' && event !== 'FETCH');
    const quiet = fc.array(
      fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...withoutPromises).map((event): Act => ({ do: 'send', event })) }, { weight: 3, arbitrary: wait }),
      {
        minLength: 1,
        maxLength: 30,
      },
    );
    fc.assert(
      fc.property(quiet, (acts) => {
        const clock = new SimulatedClock();
        const reference = createActor(familyMachine, { clock, logger: () => {} }).start();
        // The durable actor is created by its first event; DOC changes nothing.
        const actor = given(type).when({ type: 'DOC' });
        for (const act of acts) {
          live(actor, act);
          if (act.do === 'send') reference.send({ type: act.event });
          else if (act.do === 'wait') for (let ms = 0; ms < act.ms; ms++) clock.increment(1);
          const persisted = JSON.parse(JSON.stringify(reference.getPersistedSnapshot())) as Persisted;
          expect(actor.value).toEqual(persisted.value);
          expect(actor.context).toEqual(persisted.context);
          expect(children(actor)).toEqual(shape(persisted.children));
        }
        reference.stop();
      }),
      { numRuns: 300 },
    );
  });
});

interface Persisted {
  readonly status: string;
  readonly value: unknown;
  readonly context: unknown;
  readonly children: { readonly [id: string]: { readonly snapshot: Persisted } };
}

function shape(members: Persisted['children']): unknown {
  return Object.fromEntries(
    Object.entries(members).map(([id, { snapshot }]) => [id, { status: snapshot.status, value: snapshot.value, context: snapshot.context }]),
  );
}

function children(actor: TestActor): unknown {
  return shape(actor.children as unknown as Persisted['children']);
}
