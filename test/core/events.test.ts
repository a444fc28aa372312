import { describe, expect, it } from 'vitest';
import { setup } from 'xstate';
import { z } from 'zod';
import { checkEvent, registerActorType } from '../../src/core/kernel.ts';

const type = registerActorType({
  type: 'thing',
  version: '1',
  machine: setup({}).createMachine({}),
  events: {
    go: z.object({ type: z.literal('go'), at: z.object({ places: z.array(z.object({ port: z.number() })) }).optional() }),
    slow: z.object({ type: z.string() }).refine(async () => await Promise.resolve(true)),
  },
});

function refusal(event: unknown): { code: string; field?: string } {
  const checked = checkEvent(type, event);
  if (checked.ok) throw new Error('accepted');
  const { code, field } = checked.rejection;
  return field === undefined ? { code } : { code, field };
}

describe('an event from outside', () => {
  it('passes as it came, with fields that the schema does not know', () => {
    const event = { type: 'go', extra: { kept: [1, null] }, at: { places: [{ port: 1, name: 'x' }] } };
    const checked = checkEvent(type, event);
    expect(checked).toEqual({ ok: true, event });
    expect(checked.ok && checked.event).toBe(event);
  });

  it.each<[unknown, { code: string; field?: string }]>([
    [null, { code: 'invalid_event' }],
    [[], { code: 'invalid_event' }],
    [{}, { code: 'invalid_event', field: 'type' }],
    [{ type: 'xstate.stop' }, { code: 'reserved_event', field: 'type' }],
    [{ type: 'toString' }, { code: 'unknown_event', field: 'type' }],
    [
      { type: 'go', at: { places: [{ port: 1 }, { port: 'x' }] } },
      { code: 'invalid_event', field: 'at.places[1].port' },
    ],
    [JSON.parse('{"type":"go","a":{"__proto__":{"x":1}}}'), { code: 'forbidden_key', field: 'a.__proto__' }],
    [
      { type: 'go', a: [{ constructor: 1 }] },
      { code: 'forbidden_key', field: 'a[0].constructor' },
    ],
    [
      { type: 'go', prototype: 1 },
      { code: 'forbidden_key', field: 'prototype' },
    ],
    [
      { type: 'go', when: new Date(0) },
      { code: 'not_json', field: 'when' },
    ],
    [
      { type: 'go', n: Number.NaN },
      { code: 'not_json', field: 'n' },
    ],
    [
      { type: 'go', f: () => {} },
      { code: 'not_json', field: 'f' },
    ],
    [
      { type: 'go', list: [undefined] },
      { code: 'not_json', field: 'list[0]' },
    ],
    [{ type: 'slow' }, { code: 'schema_async' }],
  ])('is refused: %j', (event, expected) => {
    expect(refusal(event)).toEqual(expected);
  });

  it('is refused when it is nested too deep', () => {
    expect(refusal({ type: 'go', deep: JSON.parse('['.repeat(40) + ']'.repeat(40)) as unknown }).code).toBe('too_deep');
  });
});
