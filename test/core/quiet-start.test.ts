/** First snapshots that are made from an earlier one are what XState itself would have made. */
import { describe, expect, it } from 'vitest';
import { setup, type AnyStateMachine } from 'xstate';
import { inertCopy, Interpreter, Self } from '../../src/core/interpreter.ts';

function starts(machine: AnyStateMachine, inputs: readonly unknown[]) {
  const copy = inertCopy(machine);
  const interpreter = new Interpreter();
  return inputs.map((input, index) => {
    interpreter.begin();
    return interpreter.initial(copy, input, new Self('', `actor-${index}`, undefined, interpreter.system));
  });
}

describe('a machine that does nothing on its way into its first state', () => {
  const quiet = setup({ types: { context: {} as { name: string; list: string[] }, input: {} as { name: string } } }).createMachine({
    context: ({ input, self }) => ({ name: input.name, list: [self.id] }),
    type: 'parallel',
    states: { left: { initial: 'a', states: { a: { tags: ['first'], on: { go: 'b' } }, b: {} } }, right: { initial: 'c', states: { c: {} } } },
  });

  it('starts each actor with a context of its own, in the same state', () => {
    const [one, two] = starts(quiet, [{ name: 'one' }, { name: 'two' }]);
    expect(one?.context).toEqual({ name: 'one', list: ['actor-0'] });
    expect(two?.context).toEqual({ name: 'two', list: ['actor-1'] });
    expect(two?.value).toEqual({ left: 'a', right: 'c' });
    expect(two?.hasTag('first')).toBe(true);
  });

  it('moves on from such a start without touching another one', () => {
    const [one, two] = starts(quiet, [{ name: 'one' }, { name: 'two' }]);
    const copy = inertCopy(quiet);
    const interpreter = new Interpreter();
    interpreter.begin();
    const moved = interpreter.transition(copy, two as never, { type: 'go' }, new Self('', 'actor-1', undefined, interpreter.system));
    expect(moved.value).toEqual({ left: 'b', right: 'c' });
    expect(one?.value).toEqual({ left: 'a', right: 'c' });
    expect(two?.value).toEqual({ left: 'a', right: 'c' });
  });
});

it('takes every start of a machine whose first state depends on its context for itself', () => {
  const sorted = setup({
    types: { context: {} as { large: boolean }, input: {} as { large: boolean } },
    guards: { isLarge: ({ context }) => context.large },
  }).createMachine({
    context: ({ input }) => input,
    initial: 'new',
    states: { new: { always: [{ guard: 'isLarge', target: 'large' }, { target: 'small' }] }, large: {}, small: {} },
  });
  const states = starts(sorted, [{ large: false }, { large: true }, { large: false }]).map(({ value }) => value);
  expect(states).toEqual(['small', 'large', 'small']);
});
