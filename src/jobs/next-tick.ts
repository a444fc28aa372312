/**
 * When a schedule is due next: the promise `nextTick` of the schedule's machine.
 *
 * 1. What was missed is not made up: after an absence the schedule goes on with the next time that lies ahead.
 *    (The tick that was already armed fires by itself, once.)
 * 2. Clock changes: a pattern whose hours and minutes are named runs once on every day; at the end of the gap when its time does not
 *    exist, at the first of the two when it exists twice. A pattern with `*` or a step in them follows the time that really passes.
 * 3. A schedule that can never be due again ends with a reason; a pattern that is none is refused before it is stored ({@link checkTimes}).
 */
import { Cron } from 'croner';
import type { Tick, TickInput } from '../../machines/schedule/events.ts';
import { InvalidJobError } from '../protocol/errors.ts';

/** More often than this is not a schedule but a loop. */
export const EVERY_MS_MIN = 100;
/** A year, as the longest delay of a job. */
export const EVERY_MS_MAX = 31_536_000_000;
const CRON_LENGTH_MAX = 200;
const FIELDS = /^(@[a-zA-Z]+|(\S+\s+){4,5}\S+)$/;

/** `time`: Redis's clock, ms since the epoch. */
export function nextTick(time: () => Promise<number>): (input: TickInput) => Promise<Tick> {
  return async (input) => tickAfter(input, await time());
}

/** The first time that lies after both `after` and `now`. Pure. A pattern that is none ends the schedule, too. */
export function tickAfter(input: TickInput, now: number): Tick {
  try {
    checkTimes(input);
  } catch (error) {
    return { ended: (error as Error).message };
  }
  const at = input.cron === undefined ? intervalAfter(input.everyMs as number, input.after, now) : cronAfter(input, now);
  return at === undefined ? { ended: `the pattern "${input.cron}" never comes again` } : { at, delayMs: at - now };
}

/** Throws InvalidJobError naming the field. */
export function checkTimes({ cron, timeZone, everyMs }: Omit<TickInput, 'after'>): void {
  if ((cron === undefined) === (everyMs === undefined)) throw new InvalidJobError('cron', 'or everyMs must be given, one of the two.');
  if (everyMs !== undefined && !(Number.isSafeInteger(everyMs) && everyMs >= EVERY_MS_MIN && everyMs <= EVERY_MS_MAX)) {
    throw new InvalidJobError('everyMs', `must be a whole number of ms from ${EVERY_MS_MIN} to ${EVERY_MS_MAX}.`);
  }
  if (timeZone !== undefined && !isTimeZone(timeZone)) {
    throw new InvalidJobError('timeZone', `is ${quoted(timeZone)}; it must be an IANA time zone such as "Europe/Berlin".`);
  }
  if (cron === undefined) return;
  if (cron.length > CRON_LENGTH_MAX || !FIELDS.test(cron.trim())) {
    throw new InvalidJobError('cron', `is ${quoted(cron)}; it must have five fields (minute hour day month weekday), or six with seconds first.`);
  }
  try {
    pattern(cron, timeZone);
  } catch (error) {
    throw new InvalidJobError('cron', `is ${quoted(cron)}: ${(error as Error).message}`);
  }
}

/** On the grid that the first tick began. */
function intervalAfter(everyMs: number, after: number | null, now: number): number {
  if (after === null) return now + everyMs;
  return after + everyMs * Math.max(1, Math.floor((now - after) / everyMs) + 1);
}

function cronAfter({ cron, timeZone, after }: TickInput, now: number): number | undefined {
  const next = pattern(cron as string, timeZone).nextRun(new Date(Math.max(now, after ?? now)));
  return next === null ? undefined : next.getTime();
}

/** Made without a function to run, croner starts no timer. */
function pattern(cron: string, timeZone = 'UTC'): Cron {
  return new Cron(cron.trim(), { timezone: timeZone, mode: '5-or-6-parts', fixedTimeRule: 'no-wildcard' }); // (2)
}

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 60));
}
