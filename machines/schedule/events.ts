/** The events of a schedule, and what it asks when it plans. */
import { z } from 'zod';
import type { Json } from '../../src/protocol/json.ts';
import { jobSpec, type JobSpec } from '../job/events.ts';

const small = z.string().max(256);

export const scheduleEvents = {
  /** Makes or changes it. With the same times the planned tick stays; the new job is what it submits. */
  put: z.strictObject({
    type: z.literal('put'),
    cron: small.optional(),
    timeZone: small.optional(),
    everyMs: z.number().int().min(1).optional(),
    /** What each tick submits. Its children are named anew at each tick. */
    spec: jobSpec,
    /** The job as it was asked for; only shown. */
    job: z.json().optional(),
  }),
  /** No ticks until it is resumed; what falls between is not made up. */
  pause: z.strictObject({ type: z.literal('pause') }),
  resume: z.strictObject({ type: z.literal('resume') }),
  /** Its jobs stay. */
  remove: z.strictObject({ type: z.literal('remove') }),
};

/** Five or six fields in a time zone, or an interval. */
export type Times = { readonly cron?: string; readonly timeZone?: string; readonly everyMs?: number };

export type PutSchedule = Times & { readonly type: 'put'; readonly spec: JobSpec; readonly job?: Json };
export type ScheduleEvent = PutSchedule | { readonly type: 'pause' | 'resume' | 'remove' };

/** Input and answer of the invoked promise `nextTick`. `after`: when it was due last, ms since the epoch; null before its first tick. */
export type TickInput = Times & { readonly after: number | null };
export type Tick = { readonly at: number; readonly delayMs: number } | { readonly ended: string };
