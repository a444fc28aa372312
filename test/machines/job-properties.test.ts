/** Whatever happens to a job, in whatever order: what must hold all the same. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JobSpec } from '../../machines/job/events.ts';
import { given, type TestActor } from '../../src/testing/index.ts';
import { buried, context, posted, submit, type, WORKER } from './jobs.ts';

const ENDS = ['done', 'dropped', 'error', 'cancelled'];

/** What happens next. `behind`: how many attempts old the report is; -1 is one that was never handed out. */
type Happening =
  | { readonly kind: 'report'; readonly name: string; readonly behind: number; readonly result: number }
  | { readonly kind: 'foreign'; readonly name: string; readonly entry: string }
  | { readonly kind: 'event'; readonly event: { readonly type: string } }
  | { readonly kind: 'place'; readonly found: boolean }
  | { readonly kind: 'time'; readonly ms: number; readonly observed: boolean };

const names = fc.constantFrom('claimed', 'alive', 'end', 'error', 'released', 'aborted');
const happening: fc.Arbitrary<Happening> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('report' as const), name: names, behind: fc.constantFrom(0, 0, 0, 0, 1, 2, -1), result: fc.nat(999) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('foreign' as const), name: names, entry: fc.constantFrom('1-0', '2-0', '3-0', '9-0') }) },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      ...['cancel', 'retry'].map((name) => ({ kind: 'event' as const, event: { type: name } })),
      ...['online', 'degraded', 'offline', 'unknown', 'unheard'].map((state) => ({ kind: 'event' as const, event: { type: 'nodeState', state } })),
      ...['1-0', '2-0', '9-0'].map((entry) => ({ kind: 'event' as const, event: { type: 'stalled', entry } })),
      ...[true, false].map((ok) => ({ kind: 'event' as const, event: { type: 'childEnded', child: 'c', ok } })),
      { kind: 'event' as const, event: submit() },
    ),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('place' as const), found: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('time' as const), ms: fc.constantFrom(100, 5_000, 30_000, 61_000, 301_000), observed: fc.boolean() }) },
);

const spec: fc.Arbitrary<Partial<JobSpec>> = fc.record(
  {
    attempts: fc.integer({ min: 1, max: 4 }),
    requeue: fc.constantFrom('idempotent' as const, 'never' as const),
    delayMs: fc.constantFrom(0, 1_000),
    requires: fc.constant({ tags: ['gpu'] }),
    children: fc.constant([{ type: 'PART', via: 'queue' as const, jobId: 'c' }]),
    parent: fc.constant('p'),
    removeOnDone: fc.constant(true as const),
  },
  { requiredKeys: [] },
);

function happen(job: TestActor, what: Happening): void {
  switch (what.kind) {
    case 'report': {
      const attempt = Number(context(job)['attempt'] ?? 0) - what.behind;
      const more = what.name === 'end' ? { result: what.result } : {};
      job.when({ type: what.name, attempt, ...WORKER, entry: `${attempt}-0`, ...more });
      break;
    }
    case 'foreign':
      job.when({ type: what.name, worker: 'python-1', entry: what.entry });
      break;
    case 'event':
      job.when(what.event);
      break;
    case 'place':
      if (Object.keys(job.invocations).length === 0) job.after(0);
      else job.settle('place', { ok: true, output: what.found ? { nodeId: 'gpu-1' } : { reason: 'none' } });
      break;
    case 'time':
      if (what.observed) job.after(what.ms);
      else job.closed(what.ms);
      break;
  }
}

describe('after anything at all', () => {
  it('no attempt was posted twice, a job was done once and buried once a hand-out, and the late changed nothing', () => {
    fc.assert(
      fc.property(spec, fc.array(happening, { maxLength: 30 }), (made, happenings) => {
        const job = given(type, { id: 'j1' }).when(submit(made));
        let newest = Math.max(0, ...posted(job).map(Number));
        let ended = 0;
        let told = 0;
        let done: readonly unknown[] | undefined;
        const buriedAt = new Set<number>();
        for (const what of happenings) {
          const before = { value: job.value, context: context(job), revision: job.revision };
          happen(job, what);

          for (const attempt of posted(job).map(Number)) {
            expect(attempt, 'attempts only grow, by one').toBe(newest + 1);
            newest = attempt;
          }
          expect(buried(job).length).toBeLessThanOrEqual(1);
          if (buried(job).length > 0) {
            expect(buriedAt, 'buried once a hand-out').not.toContain(newest);
            buriedAt.add(newest);
          }
          if (what.kind === 'report' && what.behind !== 0) {
            expect([job.value, { ...context(job), late: undefined }], 'the late change nothing').toEqual([
              before.value,
              { ...before.context, late: undefined },
            ]);
            expect([job.messages, job.commands]).toEqual([[], []]);
          }
          if (done !== undefined) expect([job.value, context(job)['result']], 'done is final').toEqual(done);
          if (job.value === 'done' || job.value === 'dropped') done ??= [job.value, context(job)['result']];

          told += job.messages.filter(({ to }) => to === 'job/p').length;
          const steps = job.journal.slice(before.revision).filter(({ from, to }) => ENDS.includes(to as string) && !ENDS.includes(from as string));
          ended += steps.length;
          if (made.parent !== undefined) expect(told, 'each end is told to the parent').toBe(ended);

          const quiet = ENDS.includes(job.value as string) || (job.value === 'queued' && made.requires === undefined);
          if (quiet) expect([job.timers, job.invocations], 'nothing waits there').toEqual([[], {}]);
          if (job.value === 'processing') expect(job.timers.map(({ key }) => key).toSorted()).toEqual(['|timeout', '|xstate.after.lease.job.processing']);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('a job that is left to itself comes to rest: in its queue, in an end, or waiting for what only others can tell', () => {
    fc.assert(
      fc.property(spec, fc.array(happening, { maxLength: 15 }), (made, happenings) => {
        const job = given(type, { id: 'j1' }).when(submit(made));
        for (const what of happenings) happen(job, what);
        job.after(86_400_000);
        expect(['queued', 'placing', 'waiting', ...ENDS]).toContain(job.value);
      }),
      { numRuns: 100 },
    );
  });
});
