import { describe, expect, it } from 'vitest';
import { given } from '../../src/testing/index.ts';
import { family } from './family.ts';

const MAIN_SHIFT = 'main|xstate.after.shift.worker.idle';

describe('children as values', () => {
  it('starts an invoked machine as a value in the record, with its timers under its path', () => {
    const actor = given(family).when({ type: 'START' });
    expect(actor.children).toMatchObject({ main: { source: 'worker', snapshot: { status: 'active', value: 'idle', context: { name: 'main', jobs: 0 } } } });
    expect(actor.timers.map(({ key }) => key)).toContain(MAIN_SHIFT);
  });

  it('carries an event to a child and its answer back in one revision', () => {
    const actor = given(family).when({ type: 'START' }).when({ type: 'JOB' });
    expect(actor).toMatchObject({ revision: 2, context: { log: ['DID'] }, children: { main: { snapshot: { context: { jobs: 1 } } } } });
  });

  it('fires a timer of a child, which tells its parent', () => {
    const actor = given(family).when({ type: 'START' }).after(100);
    expect(actor.context).toMatchObject({ log: ['TIRED'] });
    expect(actor.children).toMatchObject({ main: { snapshot: { value: 'tired' } } });
    expect(actor.commands).toContainEqual({ name: 'notify', params: null });
  });

  it('stops the child with its timers and invocations when its state is left', () => {
    const actor = given(family).when({ type: 'START' }).when({ type: 'FETCH' });
    expect(Object.keys(actor.invocations)).toEqual(['main|get']);
    actor.when({ type: 'STOP' });
    expect(actor).toMatchObject({ children: {}, invocations: {} });
    expect(actor.timers.every(({ key }) => key.startsWith('|'))).toBe(true);
  });

  it('settles the invocation of a child', () => {
    const actor = given(family).when({ type: 'START' }).when({ type: 'JOB' }).when({ type: 'FETCH' });
    expect(actor.invocations).toMatchObject({ 'main|get': { source: 'fetch', input: { jobs: 1 } } });
    actor.settle('main|get', { ok: true, output: 'x' });
    expect(actor).toMatchObject({ invocations: {}, children: { main: { snapshot: { value: 'idle' } } } });
    actor.when({ type: 'FETCH' }).settle('main|get', { ok: false, error: { name: 'Error', message: 'down' } });
    expect(actor.children).toMatchObject({ main: { snapshot: { value: 'tired' } } });
  });

  it('tells the parent when a child is done, and the done child hears nothing more', () => {
    const actor = given(family).when({ type: 'START' }).when({ type: 'QUIT' });
    expect(actor).toMatchObject({ context: { log: ['xstate.done.actor.main'] }, children: { main: { snapshot: { status: 'done', output: { jobs: 0 } } } } });
    expect(actor.timers.some(({ key }) => key.startsWith('main|'))).toBe(false);
    expect(actor.when({ type: 'JOB' }).outcome).toBe('ignored');
  });

  it('spawns in assign, keeps the reference in context, and forgets both', () => {
    const actor = given(family).when({ type: 'HIRE' });
    expect(actor.context).toMatchObject({ helper: { xstate$$type: 1, id: 'helper' } });
    expect(actor.children).toHaveProperty('helper');
    expect(actor.when({ type: 'HELP' })).toMatchObject({ context: { log: ['DID'] } });
    expect(actor.when({ type: 'FIRE' })).toMatchObject({ children: {}, context: { helper: null } });
  });

  it('gives a restarted invocation another token', () => {
    const actor = given(family).when({ type: 'LOAD' });
    const first = actor.invocations['|load']!.token;
    actor.when({ type: 'ABORT' }).when({ type: 'LOAD' });
    expect(actor.invocations['|load']!.token).not.toBe(first);
    expect(actor.settle('load', { ok: true, output: 'late' }, first).outcome).toBe('ignored');
    expect(actor.settle('load', { ok: true, output: 'now' }).states).toContain('load.loaded');
  });

  it('keeps a settled promise as a finished child until its state is left', () => {
    const actor = given(family).when({ type: 'LOAD' }).settle('load', { ok: true, output: 'x' });
    expect(actor).toMatchObject({ invocations: {}, children: {}, emitted: [{ type: 'loaded' }] });
  });

  it('remembers history through a restore', () => {
    const actor = given(family).when({ type: 'START' }).when({ type: 'NEXT' }).when({ type: 'STOP' }).when({ type: 'RESUME' });
    expect(actor.states).toContain('work.on.two');
  });
});
