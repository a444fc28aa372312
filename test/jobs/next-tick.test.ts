import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TickInput } from '../../machines/schedule/events.ts';
import { checkTimes, EVERY_MS_MIN, nextTick, tickAfter } from '../../src/jobs/next-tick.ts';
import { InvalidJobError } from '../../src/protocol/errors.ts';

const at = (time: string): number => Date.parse(time);

/** The times at which it is due, one after the other, when nothing is ever late. */
function ticks(input: Omit<TickInput, 'after'>, from: string, count: number): readonly string[] {
  const found: string[] = [];
  let after: number | null = null;
  for (let now = at(from); found.length < count;) {
    const tick = tickAfter({ ...input, after }, now);
    if ('ended' in tick) throw new Error(tick.ended);
    expect(tick.delayMs).toBe(tick.at - now);
    found.push(new Date(tick.at).toISOString());
    after = now = tick.at;
  }
  return found;
}

describe('a schedule by cron', () => {
  it('is due at the times of its pattern, in UTC when it names no zone', () => {
    expect(ticks({ cron: '0 6 * * MON-FRI' }, '2026-05-01T12:00:00Z', 2)).toEqual(['2026-05-04T06:00:00.000Z', '2026-05-05T06:00:00.000Z']);
    expect(ticks({ cron: '*/20 * * * * *' }, '2026-05-01T12:00:00.001Z', 2)).toEqual(['2026-05-01T12:00:20.000Z', '2026-05-01T12:00:40.000Z']);
    expect(ticks({ cron: '@daily' }, '2026-05-01T12:00:00Z', 1)).toEqual(['2026-05-02T00:00:00.000Z']);
  });

  it('is never due twice at the same time, however fast the next one is asked for', () => {
    const due = at('2026-05-01T12:00:00Z');
    expect(tickAfter({ cron: '0 12 * * *', after: due }, due - 3)).toMatchObject({ at: due + 86_400_000 });
    expect(tickAfter({ cron: '0 12 * * *', after: due }, due)).toMatchObject({ at: due + 86_400_000 });
  });

  it('does not make up for what was missed', () => {
    const tick = tickAfter({ cron: '* * * * *', after: at('2026-05-01T00:00:00Z') }, at('2026-05-03T10:00:30Z'));
    expect(tick).toEqual({ at: at('2026-05-03T10:01:00Z'), delayMs: 30_000 });
  });

  it('runs a named time once on the day that has no such time, when the gap is over', () => {
    const berlin = { timeZone: 'Europe/Berlin' };
    expect(ticks({ cron: '30 2 * * *', ...berlin }, '2026-03-28T00:00:00Z', 3)).toEqual([
      '2026-03-28T01:30:00.000Z',
      '2026-03-29T01:00:00.000Z',
      '2026-03-30T00:30:00.000Z',
    ]);
    expect(ticks({ cron: '0,30 2 * * *', ...berlin }, '2026-03-28T12:00:00Z', 2)).toEqual(['2026-03-29T01:00:00.000Z', '2026-03-30T00:00:00.000Z']);
  });

  it('runs a named time once on the day that has it twice, the first time', () => {
    const berlin = { timeZone: 'Europe/Berlin' };
    expect(ticks({ cron: '30 2 * * *', ...berlin }, '2026-10-24T12:00:00Z', 2)).toEqual(['2026-10-25T00:30:00.000Z', '2026-10-26T01:30:00.000Z']);
    expect(ticks({ cron: '0 9,21 * * *', ...berlin }, '2026-10-24T12:00:00Z', 3)).toEqual([
      '2026-10-24T19:00:00.000Z',
      '2026-10-25T08:00:00.000Z',
      '2026-10-25T20:00:00.000Z',
    ]);
    // The second 02:30 of that night is not a new one, even for a schedule that asks in between.
    expect(tickAfter({ cron: '30 2 * * *', ...berlin, after: null }, at('2026-10-25T00:45:00Z'))).toMatchObject({ at: at('2026-10-26T01:30:00Z') });
  });

  it('follows the time that really passes when its pattern has a step', () => {
    const hours = (from: string) => ticks({ cron: '0 * * * *', timeZone: 'Europe/Berlin' }, from, 4).map((time) => time.slice(11, 16));
    expect(hours('2026-03-28T23:30:00Z')).toEqual(['00:00', '01:00', '02:00', '03:00']);
    expect(hours('2026-10-24T23:30:00Z')).toEqual(['00:00', '01:00', '02:00', '03:00']);
  });

  it('knows clocks that change by half an hour', () => {
    expect(ticks({ cron: '15 2 * * *', timeZone: 'Australia/Lord_Howe' }, '2026-10-02T00:00:00Z', 3)).toEqual([
      '2026-10-02T15:45:00.000Z',
      '2026-10-03T15:30:00.000Z',
      '2026-10-04T15:15:00.000Z',
    ]);
  });

  it('ends with a reason when its pattern never comes again', () => {
    expect(tickAfter({ cron: '0 0 30 2 *', after: null }, at('2026-05-01T00:00:00Z'))).toEqual({ ended: 'the pattern "0 0 30 2 *" never comes again' });
    expect(ticks({ cron: '0 0 29 2 *' }, '2096-03-01T00:00:00Z', 1)).toEqual(['2104-02-29T00:00:00.000Z']);
  });

  it('lies ahead, whatever the pattern, the zone and the moment', () => {
    const cron = fc.constantFrom('* * * * *', '*/7 * * * *', '30 2 * * *', '0,30 1-3 * * *', '15 3 * * SUN', '59 59 23 L * *', '0 0 1 1 *');
    const timeZone = fc.constantFrom('UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu', 'Pacific/Apia');
    const now = fc.integer({ min: at('2020-01-01T00:00:00Z'), max: at('2040-01-01T00:00:00Z') });
    fc.assert(
      fc.property(cron, timeZone, now, fc.option(fc.integer({ min: -86_400_000, max: 86_400_000 })), (pattern, zone, moment, before) => {
        const after = before === null ? null : moment + before;
        const tick = tickAfter({ cron: pattern, timeZone: zone, after }, moment);
        if ('ended' in tick) throw new Error(tick.ended);
        expect(tick.at).toBeGreaterThan(moment);
        if (after !== null) expect(tick.at).toBeGreaterThan(after);
        expect(tickAfter({ cron: pattern, timeZone: zone, after }, moment)).toEqual(tick);
      }),
      { numRuns: 300 },
    );
  });
});

describe('a schedule by interval', () => {
  it('is due one interval after it was made, and then on that grid', () => {
    expect(ticks({ everyMs: 1_500 }, '2026-05-01T00:00:00.200Z', 3)).toEqual([
      '2026-05-01T00:00:01.700Z',
      '2026-05-01T00:00:03.200Z',
      '2026-05-01T00:00:04.700Z',
    ]);
  });

  it('keeps its grid when it is late, without making up', () => {
    expect(tickAfter({ everyMs: 1_000, after: 10_000 }, 10_080)).toEqual({ at: 11_000, delayMs: 920 });
    expect(tickAfter({ everyMs: 1_000, after: 10_000 }, 13_000)).toEqual({ at: 14_000, delayMs: 1_000 });
  });

  it('lies ahead by at most one interval, on the grid', () => {
    const number = fc.integer({ min: 0, max: 10_000_000 });
    fc.assert(
      fc.property(fc.integer({ min: EVERY_MS_MIN, max: 100_000 }), number, number, (everyMs, after, lateMs) => {
        const tick = tickAfter({ everyMs, after }, after + lateMs) as { readonly at: number; readonly delayMs: number };
        expect(tick.delayMs).toBeGreaterThan(0);
        expect(tick.delayMs).toBeLessThanOrEqual(everyMs);
        expect((tick.at - after) % everyMs).toBe(0);
      }),
    );
  });
});

it('counts from the time that it is given', async () => {
  await expect(nextTick(() => Promise.resolve(5_000))({ everyMs: 1_000, after: null })).resolves.toEqual({ at: 6_000, delayMs: 1_000 });
});

describe('what is no schedule is refused with the field at fault', () => {
  const refusal = (input: Omit<TickInput, 'after'>): unknown => {
    try {
      checkTimes(input);
    } catch (error) {
      expect(error).toBeInstanceOf(InvalidJobError);
      return (error as InvalidJobError).field;
    }
    return undefined;
  };

  it('names it', () => {
    expect(refusal({})).toBe('cron');
    expect(refusal({ cron: '* * * * *', everyMs: 1_000 })).toBe('cron');
    expect(refusal({ cron: 'every day' })).toBe('cron');
    expect(refusal({ cron: '0 0 32 1 *' })).toBe('cron');
    expect(refusal({ cron: '0 0 0 1 1 * 2020' })).toBe('cron');
    expect(refusal({ cron: '2026-01-01T00:00:00' })).toBe('cron');
    expect(refusal({ cron: '* * * * *', timeZone: 'Mars/Olympus' })).toBe('timeZone');
    expect(refusal({ everyMs: 10 })).toBe('everyMs');
    expect(refusal({ everyMs: 1_000.5 })).toBe('everyMs');
    expect(refusal({ cron: '* * * * *', timeZone: 'Europe/Berlin' })).toBeUndefined();
    expect(refusal({ everyMs: 1_000 })).toBeUndefined();
  });

  it('ends a schedule that has become none, instead of trying for ever', () => {
    expect(tickAfter({ cron: 'nonsense', after: null }, 0)).toMatchObject({ ended: expect.stringContaining('five fields') as string });
  });
});
