/** The generated description of a machine holds all that moves it. */
import { describe, expect, it } from 'vitest';
import { createMachine } from 'xstate';
import { stateDiagram } from '../../visualizations/state-diagram.ts';

const machine = createMachine({
  initial: 'a',
  states: {
    a: {
      meta: { description: 'The beginning | of all.' },
      tags: ['first'],
      on: { go: { guard: 'may', target: 'b', actions: 'note' } },
      after: { 1500: 'b' },
    },
    b: {
      initial: 'inner',
      states: { inner: { always: { guard: 'done', target: '#end' }, invoke: { id: 'work', src: 'worker', onDone: '#end' } } },
    },
    end: { id: 'end', type: 'final' },
  },
});

describe('a state diagram', () => {
  const text = stateDiagram('sample', machine);

  it.each([
    'a --> b : go [may] / note',
    'a --> b : after 1.5 s',
    'b_inner --> end : always [done]',
    'b_inner --> end : done.actor.work',
    '| a | first | The beginning \\| of all. |',
    'invokes worker as work',
  ])('says %j', (line) => {
    expect(text).toContain(line);
  });

  it('draws a transition that leaves a state outside of it', () => {
    const inside = text.slice(text.indexOf('as b {'), text.indexOf('  }'));
    expect(inside).toContain('b_inner');
    expect(inside).not.toContain('end');
  });

  it('is the same text every time', () => {
    expect(stateDiagram('sample', machine)).toBe(text);
  });
});
