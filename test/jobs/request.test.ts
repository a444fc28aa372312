import { describe, expect, it } from 'vitest';
import { jobEvents } from '../../machines/job/events.ts';
import { jobIdOf, jobIdSource } from '../../src/jobs/job-ids.ts';
import { newJob } from '../../src/jobs/request.ts';
import { InvalidJobError } from '../../src/protocol/errors.ts';
import type { JobRequest } from '../../src/protocol/job.ts';

const makeId = (): string => 'new';

function faultOf(request: unknown): InvalidJobError {
  try {
    newJob(request as JobRequest, { makeId });
  } catch (error) {
    if (error instanceof InvalidJobError) return error;
    throw error;
  }
  throw new Error('The request was taken.');
}

describe('a new job’s id', () => {
  it('has 16 characters, sorts by time and is never the same', () => {
    let now = 1_800_000_000_000;
    const make = jobIdSource({ now: () => now });
    const ids: string[] = [];
    for (let index = 0; index < 1_000; index++) {
      ids.push(make());
      now += 1;
    }
    expect(ids.every((id) => /^[0-9A-Za-z]{16}$/.test(id))).toBe(true);
    expect(ids.toSorted()).toEqual(ids);
    expect(new Set(ids).size).toBe(1_000);
  });

  it('comes from the chance it is given', () => {
    const make = jobIdSource({ now: () => 0, random: (bytes) => new Uint8Array(bytes).fill(61) });
    expect(make()).toBe('0000000zzzzzzzzz');
  });

  it('of a key is the key’s', () => {
    expect(jobIdOf('a', 'b')).toBe(jobIdOf('a', 'b'));
    expect(jobIdOf('a', 'b')).not.toBe(jobIdOf('ab', ''));
    expect(jobIdOf('a')).toMatch(/^[A-Za-z0-9._:@-]{23}$/);
  });
});

describe('a request becomes what the machine is given', () => {
  it('without what has its default', () => {
    const request: JobRequest = {
      type: 'ECHO',
      payload: {},
      queue: 'jobs:v1:gpu-general',
      priority: 'normal',
      delayMs: 0,
      attempts: 3,
      backoff: { kind: 'exponential', delayMs: 1_000, delayMsMax: 300_000 },
      timeoutMs: 300_000,
      requeue: 'idempotent',
      requires: {},
      children: [],
      waitFor: 'all',
      onChildFailure: 'fail',
      removeOnDone: false,
    };
    expect(newJob(request, { makeId })).toEqual({ jobId: 'new', named: false, spec: { type: 'ECHO', via: 'queue' } });
  });

  it('with all that was asked for, as the machine’s own schema takes it', () => {
    const request: JobRequest = {
      type: 'llm.generate',
      payload: { prompt: 'hello' },
      jobId: 'mine',
      queue: 'jobs:v1:cpu-general',
      priority: 'high',
      delayMs: 5_000,
      attempts: 7,
      backoff: { kind: 'fixed', delayMs: 10, jitter: 0.5 },
      timeoutMs: 1_000,
      requeue: 'never',
      requires: { tags: ['gpu'], gpuMemoryMb: 8_000, node: 'n-1', service: 'ollama' },
      waitFor: 'any',
      onChildFailure: 'continue',
      rayId: 'ray',
      removeOnDone: true,
      children: [{ type: 'a', children: [{ type: 'b', payload: [1, 'two', null] }] }, { type: 'c' }],
    };
    const { jobId, spec, named } = newJob(request, { makeId, orgId: 'org-1', source: 'library' });
    expect([jobId, named]).toEqual(['mine', true]);
    expect(spec).toMatchObject({ priority: 10, orgId: 'org-1', source: 'library', requires: request.requires, backoff: request.backoff });
    expect(spec.children?.map((child) => [child.jobId, child.orgId, child.children?.[0]?.jobId])).toEqual([
      ['mine.0', 'org-1', 'mine.0.0'],
      ['mine.1', 'org-1', undefined],
    ]);
    const event = { type: 'submit', spec };
    expect(jobEvents.submit.parse(event)).toEqual(event);
  });

  it('a dedupe key makes one job of equal type, queue and organisation', () => {
    const idOf = (request: JobRequest, orgId?: string) => newJob(request, { makeId, ...(orgId === undefined ? {} : { orgId }) }).jobId;
    const first = idOf({ type: 'a', dedupeKey: 'k' });
    expect(idOf({ type: 'a', dedupeKey: 'k', payload: 1, queue: 'jobs:v1:gpu-general' })).toBe(first);
    const others = [idOf({ type: 'b', dedupeKey: 'k' }), idOf({ type: 'a', dedupeKey: 'k', queue: 'jobs:v1:x' }), idOf({ type: 'a', dedupeKey: 'k' }, 'o')];
    expect(new Set([first, ...others]).size).toBe(4);
  });
});

describe('a bad request names its field', () => {
  const deep = (generations: number): JobRequest => (generations === 0 ? { type: 'a' } : { type: 'a', children: [deep(generations - 1)] });
  const cases: readonly (readonly [what: string, request: unknown, field: string])[] = [
    ['nothing', null, 'job'],
    ['no type', {}, 'type'],
    ['an odd type', { type: '1x' }, 'type'],
    ['an unknown field', { type: 'a', retries: 3 }, 'retries'],
    ['an odd id', { type: 'a', jobId: 'a/b' }, 'jobId'],
    ['another system’s queue', { type: 'a', queue: 'mail' }, 'queue'],
    ['half an attempt', { type: 'a', attempts: 1.5 }, 'attempts'],
    ['no attempt', { type: 'a', attempts: 0 }, 'attempts'],
    ['a word for a number', { type: 'a', delayMs: '5' }, 'delayMs'],
    ['an unknown priority', { type: 'a', priority: 'urgent' }, 'priority'],
    ['a backoff without a delay', { type: 'a', backoff: { kind: 'fixed' } }, 'backoff.delayMs'],
    ['a backoff of another kind', { type: 'a', backoff: { kind: 'linear', delayMs: 1 } }, 'backoff.kind'],
    ['a requirement that nobody checks', { type: 'a', requires: { colour: 'red' } }, 'requires.colour'],
    ['empty tags', { type: 'a', requires: { tags: [''] } }, 'requires.tags'],
    ['what JSON cannot hold', { type: 'a', payload: { list: [new Date(0)] } }, 'payload.list[0]'],
    ['a large payload', { type: 'a', payload: 'x'.repeat(262_144) }, 'payload'],
    ['a fault in a child', { type: 'a', children: [{ type: 'b' }, { type: 'c' }, { type: 'd', payload: Number.NaN }] }, 'children[2].payload'],
    ['an id for a child', { type: 'a', children: [{ type: 'b', jobId: 'x' }] }, 'children[0].jobId'],
    ['a child that is none', { type: 'a', children: ['b'] }, 'children[0]'],
    ['children that are no list', { type: 'a', children: { type: 'b' } }, 'children'],
    ['too many generations', deep(9), `${'children[0].'.repeat(8)}children`],
    ['too many children', { type: 'a', children: Array.from({ length: 1_000 }, () => ({ type: 'b' })) }, 'children[999]'],
    ['too many bytes together', { type: 'a', children: Array.from({ length: 4 }, () => ({ type: 'b', payload: 'x'.repeat(200_000) })) }, 'children[3].payload'],
  ];
  it.each(cases)('%s', (_what, request, field) => {
    const fault = faultOf(request);
    expect(fault.field).toBe(field);
    expect(fault.message).toContain(field);
  });
});
