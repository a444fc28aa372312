/** A schedule: plans with the promise `nextTick`, submits one job a tick, makes nothing up. */
import { describe, expect, it } from 'vitest';
import { scheduleType } from '../../machines/schedule/definition.ts';
import { given, type TestActor } from '../../src/testing/index.ts';

const type = scheduleType({ nextTick: () => Promise.reject(new Error('never run here')) });
const spec = { type: 'ECHO', via: 'queue' } as const;
const hourly = { type: 'put', cron: '0 * * * *', spec, job: { type: 'ECHO' } };

function planned(delayMs = 60_000): TestActor {
  const schedule = given(type, { id: 'nightly' }).when(hourly);
  return plan(schedule, delayMs);
}

function plan(schedule: TestActor, delayMs: number): TestActor {
  return schedule.settle('nextTick', { ok: true, output: { at: schedule.now + delayMs, delayMs } });
}

describe('a schedule', () => {
  it('asks for its first time when it is put', () => {
    const schedule = given(type, { id: 'nightly' }).when({ ...hourly, timeZone: 'Europe/Berlin' });
    expect(schedule.value).toBe('planning');
    expect(Object.values(schedule.invocations)[0]).toMatchObject({ source: 'nextTick', input: { cron: '0 * * * *', timeZone: 'Europe/Berlin', after: null } });
  });

  it('submits its job at its time, named after itself and the tick, and plans the next one after it', () => {
    const schedule = planned();
    const at = schedule.now + 60_000;
    expect(schedule.value).toBe('waiting');
    expect(schedule.context).toMatchObject({ at, runs: 0 });
    schedule.after(59_999);
    expect(schedule.messages).toEqual([]);
    schedule.after(1);
    expect(schedule.messages).toEqual([{ to: `job/nightly.${at}`, event: { type: 'submit', spec } }]);
    expect(schedule.value).toBe('planning');
    expect(schedule.context).toMatchObject({ after: at, runs: 1 });
    expect(Object.values(schedule.invocations)[0]?.input).toMatchObject({ after: at });
  });

  it('fires once for all that it missed while nobody ran it, and goes on from the time that was due', () => {
    const schedule = planned();
    const due = schedule.now + 60_000;
    schedule.closed(86_400_000);
    expect(schedule.messages).toHaveLength(1);
    expect(schedule.context).toMatchObject({ after: due, runs: 1 });
  });

  it('names the children of its job anew at each tick', () => {
    const family = { ...spec, children: [{ ...spec, jobId: 'x.0', children: [{ ...spec, jobId: 'x.0.0' }] }] };
    const schedule = plan(given(type, { id: 'nightly' }).when({ ...hourly, spec: family }), 1_000);
    const jobId = `nightly.${schedule.now + 1_000}`;
    schedule.after(1_000);
    expect(schedule.messages).toMatchObject([
      { to: `job/${jobId}`, event: { spec: { children: [{ jobId: `${jobId}.0`, children: [{ jobId: `${jobId}.0.0` }] }] } } },
    ]);
  });

  it('keeps its planned tick when only its job is changed', () => {
    const schedule = planned();
    schedule.when({ ...hourly, spec: { ...spec, type: 'OTHER' } });
    expect(schedule.value).toBe('waiting');
    schedule.after(60_000);
    expect(schedule.messages).toMatchObject([{ event: { spec: { type: 'OTHER' } } }]);
  });

  it('plans anew when its times are changed', () => {
    const schedule = planned().when({ type: 'put', everyMs: 5_000, spec });
    expect(schedule.value).toBe('planning');
    expect(schedule.timers).toEqual([]);
    expect(Object.values(schedule.invocations)[0]?.input).toEqual({ everyMs: 5_000, after: null });
    expect(schedule.context).toEqual({ everyMs: 5_000, spec, runs: 0 });
  });

  it('submits nothing while it is paused, and plans again when it is resumed', () => {
    const schedule = planned().when({ type: 'pause' });
    expect(schedule.after(86_400_000).messages).toEqual([]);
    expect(schedule.when({ type: 'resume' }).value).toBe('planning');
  });

  it('ends with a reason when its times never come again, and begins anew with others', () => {
    const schedule = given(type).when({ ...hourly, cron: '0 0 30 2 *' });
    schedule.settle('nextTick', { ok: true, output: { ended: 'the pattern never comes again' } });
    expect(schedule.value).toBe('ended');
    expect(schedule.context).toMatchObject({ reason: 'the pattern never comes again' });
    expect(schedule.when(hourly).value).toBe('planning');
    expect(schedule.context).not.toHaveProperty('reason', expect.any(String));
  });

  it('asks again when its times cannot be told just now', () => {
    const schedule = given(type)
      .when(hourly)
      .settle('nextTick', { ok: false, error: { name: 'Error', message: 'Redis is away' } });
    expect(schedule.context).toMatchObject({ reason: expect.stringContaining('Redis is away') });
    expect(schedule.invocations).toEqual({});
    schedule.after(5_000);
    expect(Object.keys(schedule.invocations)).toEqual(['|nextTick']);
    expect(plan(schedule, 1_000).value).toBe('waiting');
  });

  it('that is removed submits nothing more, and comes back when it is put again', () => {
    const schedule = planned().when({ type: 'remove' });
    expect(schedule.value).toBe('removed');
    expect(schedule.timers).toEqual([]);
    expect(schedule.when(hourly).value).toBe('planning');
  });

  it('that was never put takes nothing else', () => {
    expect(given(type, { id: 'nobody' }).rejects({ type: 'remove' })).toEqual({
      code: 'unknown_schedule',
      reason: 'There is no schedule nobody: it was never put, or is removed.',
    });
  });

  it('needs a name that leaves room for its jobs', () => {
    expect(given(type, { id: 'x'.repeat(101) }).rejects(hourly)).toMatchObject({ code: 'invalid_schedule', field: 'name' });
  });
});
