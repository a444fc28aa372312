/** The apply machine alone: which end each course comes to, and what is done on the way, with promises that answer as told. */
import { createActor, waitFor } from 'xstate';
import { describe, expect, test } from 'vitest';
import { createApplyMachine, type ApplyRequest, type ApplyServices } from '../../machines/apply/machine.ts';
import type { Plan, Step } from '../../machines/apply/steps.ts';

const request: ApplyRequest = { key: 'k', jobId: null, payload: {}, apply: 'a' };
const PLAN: Plan = {
  steps: [
    { kind: 'pull', service: 's', image: 'i' },
    { kind: 'park', service: 's', id: 'old' },
    { kind: 'start', service: 's', apply: 'a' },
  ],
  undo: [
    { kind: 'discard', service: 's', apply: 'a' },
    { kind: 'restore', service: 's', id: 'old', running: true },
  ],
  finish: [{ kind: 'remove', service: 's', id: 'old' }],
  gate: [{ service: 's', deadlineMs: 1, health: { kind: 'tcp', port: 1 }, ports: [] }],
  starts: true,
  services: [],
  next: {},
};
const failure = { code: 'x', message: 'it broke' };

function world(
  given: {
    readonly fails?: Step['kind'];
    readonly throws?: Step['kind'];
    readonly plan?: Partial<Plan>;
    readonly unwell?: true;
    readonly over?: Partial<ApplyServices>;
  } = {},
) {
  const done: string[] = [];
  const act = (prefix: string) => async (step: Step) => {
    done.push(prefix + step.kind);
    if (given.throws === step.kind) throw new Error('thrown');
    return given.fails === step.kind ? { kind: 'failed' as const, failure } : { kind: 'done' as const };
  };
  const services: ApplyServices = {
    validate: async () => ({ kind: 'accepted', accepted: { revision: 1, desired: {}, unsupported: [], refused: [] } }),
    plan: async () => ({ kind: 'planned', plan: { ...PLAN, ...given.plan } }),
    execute: act(''),
    undo: act('undo '),
    gate: async () => {
      done.push('gate');
      return given.unwell ? { kind: 'failed', failure } : { kind: 'done' };
    },
    commit: async () => void done.push('commit'),
    now: () => 7,
    ...given.over,
  };
  return { done, machine: createApplyMachine(services) };
}
async function courseOf(given?: Parameters<typeof world>[0]) {
  const { done, machine } = world(given);
  const actor = createActor(machine, { input: request });
  actor.start();
  const { value, context } = await waitFor(actor, ({ status }) => status === 'done');
  return { end: value, done, context };
}
const FORWARD = ['pull', 'park', 'start'];
const BACK = ['undo discard', 'undo restore'];

describe('the ends of an apply', () => {
  test('all well: steps, gate, commit, clean', async () => {
    expect(await courseOf()).toMatchObject({ end: 'applied', done: [...FORWARD, 'gate', 'commit', 'remove'], context: { gateSince: 7 } });
  });

  test('nothing to do commits at once', async () => {
    expect(await courseOf({ plan: { steps: [], undo: [], finish: [], gate: [] } })).toMatchObject({ end: 'applied', done: ['commit'] });
    expect(await courseOf({ plan: { steps: [], undo: [], finish: [], gate: [], starts: false } })).toMatchObject({ end: 'recorded', done: ['commit'] });
  });

  test.for([
    ['pull', ['pull']],
    ['park', ['pull', 'park']],
    ['start', FORWARD],
  ] as const)('a failing %s goes all the way back', async ([fails, forward]) => {
    expect(await courseOf({ fails })).toMatchObject({ end: 'rolledBack', done: [...forward, ...BACK], context: { failure } });
    expect(await courseOf({ throws: fails })).toMatchObject({ end: 'rolledBack', done: [...forward, ...BACK], context: { failure: { code: 'internal' } } });
  });

  test('a gate that is not passed goes back', async () => {
    expect(await courseOf({ unwell: true })).toMatchObject({ end: 'rolledBack', done: [...FORWARD, 'gate', ...BACK] });
  });

  test('after the commit nothing leads back', async () => {
    expect(await courseOf({ fails: 'remove' })).toMatchObject({ end: 'applied' });
    expect(await courseOf({ throws: 'remove' })).toMatchObject({ end: 'applied' });
  });

  test('a way back that is closed is told, with both reasons', async () => {
    expect(await courseOf({ unwell: true, fails: 'restore' })).toMatchObject({ end: 'failed', context: { failure, undoFailure: failure } });
  });

  test('refused before anything is done', async () => {
    const refused = async () => ({ kind: 'refused' as const, failure });
    expect(await courseOf({ over: { validate: refused } })).toMatchObject({ end: 'rejected', done: [], context: { failure } });
    expect(await courseOf({ over: { plan: refused } })).toMatchObject({ end: 'rejected', done: [] });
    const throws = async (): Promise<never> => await Promise.reject(new Error('no engine'));
    expect(await courseOf({ over: { plan: throws } })).toMatchObject({ end: 'rejected', context: { failure: { message: 'no engine' } } });
  });
});

test('restored from any of its snapshots it comes to the same end, and begins the newest promise again', async () => {
  const { machine } = world();
  const first = createActor(machine, { input: request });
  const snapshots: unknown[] = [];
  first.subscribe(() => void snapshots.push(JSON.parse(JSON.stringify(first.getPersistedSnapshot()))));
  first.start();
  await waitFor(first, ({ status }) => status === 'done');
  expect(snapshots.length).toBeGreaterThan(7);
  for (const snapshot of snapshots) {
    const again = world();
    const actor = createActor(again.machine, { snapshot: snapshot as never, input: request });
    actor.start();
    const { value } = await waitFor(actor, ({ status }) => status === 'done');
    expect(value).toBe('applied');
    const { context, value: at } = snapshot as { context: { index: number }; value: string };
    if (at === 'applying') expect(again.done.slice(0, 3 - context.index)).toEqual(FORWARD.slice(context.index));
  }
});
