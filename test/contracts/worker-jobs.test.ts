/** The contract with workers: what goes to queues and dead letters, what comes back, and what others put there. */
import { describe, expect, it } from 'vitest';
import { jobEvents, type BuryJob, type PostJob } from '../../machines/job/events.ts';
import { readJobEntry } from '../../src/contracts/worker-entry.ts';
import { dlqOutlet, jobReportsSource, queueOutlet } from '../../src/contracts/worker-jobs.ts';
import { foreignOutcome, foreignProgress } from '../../src/contracts/worker-progress.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';
import { decodeJobEntry } from '../../src/protocol/job-progress.ts';
import type { Json } from '../../src/protocol/json.ts';
import type { DecodedMessage, RejectedEntry } from '../../src/protocol/source.ts';

const AT = Date.parse('2026-03-04T05:06:07.008Z');
const QUEUE = 'jobs:v1:gpu-general';
const FROM = 'job/j1';

function report(type: string, data: object = {}, more: object = {}): readonly string[] {
  return ['jobId', 'j1', 'progress', JSON.stringify({ version: '1.0', type, jobId: 'j1', timestamp: '2026-03-04T05:06:07Z', data, ...more })];
}

function decoded(fields: readonly string[]): MachineEvent {
  const result = jobReportsSource.decode('1-1', fields);
  if (!result.ok) throw new Error(JSON.stringify(result));
  return result.event;
}

function refused(fields: readonly string[]): RejectedEntry {
  const result = jobReportsSource.decode('1-1', fields);
  if (result.ok) throw new Error(`taken: ${JSON.stringify(result)}`);
  return result;
}

describe('a report of a worker', () => {
  it('belongs to the job that its entry names', () => {
    expect(jobReportsSource.keyOf(report('end'))).toBe('job/j1');
    expect(jobReportsSource.keyOf(['progress', '{}', 'job_id', 'j2'])).toBe('job/j2');
    expect(jobReportsSource.keyOf(['jobId', 'a/b'])).toBeUndefined();
    expect(jobReportsSource.keyOf([])).toBeUndefined();
    expect(refused(['jobId', 'j2', 'progress', report('end')[3] as string])).toMatchObject({ code: 'conflicting_field', field: 'progress.jobId' });
  });

  const who = { attempt: 2, worker: 'castellan:gpu-1:9', nodeId: 'gpu-1', entry: '17-0' };
  const pairs: readonly (readonly [type: string, data: object, event: object])[] = [
    ['claimed', {}, { type: 'claimed' }],
    ['start', {}, { type: 'alive' }],
    ['alive', {}, { type: 'alive' }],
    ['chunk', { progress: 40, message: 'half' }, { type: 'alive', progress: 40, message: 'half' }],
    ['end', { result: { tokens: 3 } }, { type: 'end', result: { tokens: 3 } }],
    ['end', { result: null }, { type: 'end', result: null }],
    ['error', { code: 'boom', message: 'it broke', retryable: false }, { type: 'error', code: 'boom', message: 'it broke', retryable: false }],
    ['cancelled', {}, { type: 'aborted' }],
    ['released', {}, { type: 'released' }],
  ];
  it.each(pairs)('%s with %j becomes an event that the job declares', (type, data, event) => {
    const found = decoded(report(type, { ...who, ...data }));
    expect(found).toEqual({ ...event, ...who });
    expect(jobEvents[found.type as 'end'].safeParse(found).error).toBeUndefined();
  });

  it('may know nothing of attempts, and may bring the job that nobody submitted', () => {
    expect(decoded(report('end'))).toEqual({ type: 'end' });
    const origin = { type: 'INGEST', via: 'none' };
    expect(decoded(report('start', { origin }))).toEqual({ type: 'alive', origin });
    expect(refused(report('start', { origin: { type: '', via: 'none' } })).field).toBe('progress.data.origin.type');
  });

  it('has its long texts cut rather than being refused', () => {
    const { message, code } = decoded(report('error', { message: 'm'.repeat(10_000), code: 'c'.repeat(100) })) as {
      message: string;
      code: string;
    } & MachineEvent;
    expect([message.length, code.length]).toEqual([4_096, 64]);
  });

  const bad: readonly (readonly [field: string, fields: readonly string[]])[] = [
    ['jobId', ['progress', '{}']],
    ['jobId', ['jobId', 'a b', 'progress', '{}']],
    ['jobId', ['jobId', '__proto__', 'progress', '{}']],
    ['progress', ['jobId', 'j1']],
    ['progress', ['jobId', 'j1', 'progress', 'nonsense']],
    ['progress', ['jobId', 'j1', 'progress', '[]']],
    ['progress', ['jobId', 'j1', 'progress', `"${'x'.repeat(300_000)}"`]],
    ['progress.type', report('finished')],
    ['progress.type', report('toString')],
    ['progress.jobId', report('end', {}, { jobId: 7 })],
    ['progress.data', report('end', {}, { data: 'text' })],
    ['progress.data.attempt', report('end', { attempt: '2' })],
    ['progress.data.attempt', report('end', { attempt: -1 })],
    ['progress.data.worker', report('end', { worker: 5 })],
    ['progress.data.entry', report('end', { entry: 'e'.repeat(300) })],
    ['progress.data.retryable', report('error', { retryable: 'no' })],
    ['progress.data.origin', report('end', { origin: [] })],
  ];
  it.each(bad)('is refused naming %s', (field, fields) => {
    const { reason, ...rejection } = refused(fields);
    expect(rejection.field).toBe(field);
    expect(reason).toContain(field);
    expect(rejection.excerpt.length).toBeLessThanOrEqual(512);
  });

  it('is quoted without secrets', () => {
    const { excerpt } = refused(report('nonsense', { authToken: 'hunter2', message: 'plain' }));
    expect(excerpt).not.toContain('hunter2');
    expect(refused(['jobId', 'j1', 'password', 'hunter2']).excerpt).not.toContain('hunter2');
  });
});

describe('the outlet of queues', () => {
  const post: PostJob = { type: 'post', jobId: 'j1', jobType: 'ECHO', payload: { a: 1 }, attempt: 2, timeoutMs: 300_000, requeue: 'fenced', rayId: 'r' };

  it('writes the fields of the contract, and the attempt beside them', () => {
    const entry = queueOutlet.encode(QUEUE, post, FROM, AT);
    expect(entry).toMatchObject({ stream: QUEUE, priority: 0, member: 'j1' });
    expect(entry?.maxLength).toBeUndefined();
    expect(decodeJobEntry(QUEUE, '1-1', entry?.fields ?? [])).toEqual({
      queue: QUEUE,
      entryId: '1-1',
      jobId: 'j1',
      type: 'ECHO',
      payload: '{"a":1}',
      enqueuedAt: '2026-03-04T05:06:07.008Z',
      rayId: 'r',
      attempt: 2,
      requeue: 'fenced',
      timeoutMs: 300_000,
    });
  });

  it('names the node in the entry and in the payload', () => {
    const fieldsOf = (payload: Json | undefined): readonly string[] =>
      queueOutlet.encode(QUEUE, { ...post, payload, targetNode: 'gpu-1', priority: 10 }, FROM, AT)?.fields ?? [];
    expect(decodeJobEntry(QUEUE, '1-1', fieldsOf({ a: 1 }))).toMatchObject({ targetNode: 'gpu-1', payload: '{"a":1,"target_node":"gpu-1"}' });
    expect(decodeJobEntry(QUEUE, '1-1', fieldsOf([1]))).toMatchObject({ targetNode: 'gpu-1', payload: '[1]' });
    expect(decodeJobEntry(QUEUE, '1-1', fieldsOf(undefined))).toMatchObject({ payload: '{"target_node":"gpu-1"}' });
  });

  it('knows worker queues alone', () => {
    for (const id of ['node:status:stream', 'jobs:v1:', 'jobs:v1:a{b}', 'castellan:{p0}:inbox']) expect(queueOutlet.encode(id, post, FROM, AT)).toBeUndefined();
    expect(queueOutlet.encode(QUEUE, { type: 'other' }, FROM, AT)).toBeUndefined();
  });
});

describe('the outlet of dead letters', () => {
  const bury: BuryJob = {
    ...{ type: 'bury', jobId: 'j1', jobType: 'ECHO', payload: { a: 1 }, queue: QUEUE, reason: 'it broke', attempts: 3 },
    ...{ worker: 'w1', entry: '1700000000123-4' },
  };
  const FIELDS = ['original_message_id', 'original_queue', 'reason', 'moved_at', 'worker_id', 'jobId', 'type', 'enqueuedAt', 'payload', 'attempts'];

  it('writes every field of the contract', () => {
    const entry = dlqOutlet.encode('gpu-general', bury, FROM, AT);
    expect(entry).toEqual({
      stream: 'dlq:v1:gpu-general',
      maxLength: 10_000,
      fields: [
        ...['original_message_id', '1700000000123-4', 'original_queue', QUEUE, 'reason', 'it broke', 'moved_at', '2026-03-04T05:06:07.008Z'],
        ...['worker_id', 'w1', 'jobId', 'j1', 'type', 'ECHO', 'enqueuedAt', '2023-11-14T22:13:20.123Z', 'payload', '{"a":1}', 'attempts', '3'],
      ],
    });
  });

  it('writes them empty when they are not known', () => {
    const rest: BuryJob = { type: 'bury', jobId: 'j1', jobType: 'ECHO', queue: QUEUE, reason: 'it broke', attempts: 3 };
    const fields = dlqOutlet.encode('gpu-general', rest, FROM, AT)?.fields ?? [];
    expect(fields.filter((_field, index) => index % 2 === 0)).toEqual(FIELDS);
    const strange = dlqOutlet.encode('gpu-general', { ...bury, entry: 'no id' }, FROM, AT)?.fields ?? [];
    expect(strange[strange.indexOf('enqueuedAt') + 1]).toBe('');
    expect(dlqOutlet.encode('a{b}', bury, FROM, AT)).toBeUndefined();
  });
});

describe('an entry that another producer enqueued', () => {
  const adopted = (...fields: string[]): DecodedMessage => {
    const read = readJobEntry(QUEUE, '5-1', fields);
    if (read.ok !== true) throw new Error(JSON.stringify(read));
    return read;
  };

  it('is adopted once, with what it says of itself', () => {
    const payload = { prompt: 'hello', timeout_ms: 5_000, target_node: 'gpu-1' };
    const read = adopted('jobId', 'j9', 'type', 'LLM_INFERENCE', 'payload', JSON.stringify(payload), 'enqueuedAt', 'yesterday', 'rayId', 'r1', 'more', 'x');
    expect(read).toEqual({
      ok: true,
      actor: 'job/j9',
      dedupeId: `${QUEUE}:5-1`,
      event: {
        type: 'adopt',
        entry: '5-1',
        spec: { type: 'LLM_INFERENCE', via: 'queue', queue: QUEUE, source: QUEUE, payload, rayId: 'r1', timeoutMs: 5_000, requires: { node: 'gpu-1' } },
      },
    });
    expect(jobEvents.adopt.safeParse(read.event).error).toBeUndefined();
  });

  it('is read in both spellings, and may leave out what is optional', () => {
    expect(adopted('job_id', 'j9', 'type', 'ECHO').event).toEqual({
      type: 'adopt',
      entry: '5-1',
      spec: { type: 'ECHO', via: 'queue', queue: QUEUE, source: QUEUE, payload: {} },
    });
    expect(adopted('job_id', 'j9', 'type', 'ECHO', 'targetNode', 'n', 'timeoutMs', '7').event).toMatchObject({
      spec: { requires: { node: 'n' }, timeoutMs: 7 },
    });
    expect(adopted('jobId', 'j9', 'type', 'ECHO', 'payload', '{"targetNode":"n","timeoutMs":"7"}').event).toMatchObject({
      spec: { requires: { node: 'n' }, timeoutMs: 7 },
    });
    expect(adopted('jobId', 'j9', 'type', 'ECHO', 'payload', '{"target_node":"","timeout_ms":null}').event).not.toHaveProperty('spec.requires');
  });

  it('is ignored when it is ours', () => {
    const fields = queueOutlet.encode(QUEUE, { type: 'post', jobId: 'j', jobType: 'ECHO', attempt: 1, timeoutMs: 1 }, FROM, AT)?.fields ?? [];
    expect(readJobEntry(QUEUE, '5-1', fields)).toEqual({ ok: 'ignored' });
  });

  const good = ['jobId', 'j9', 'type', 'ECHO'];
  const bad: readonly (readonly [field: string, fields: readonly string[]])[] = [
    ['jobId', []],
    ['jobId', ['type', 'ECHO']],
    ['jobId', ['jobId', '', 'type', 'ECHO']],
    ['jobId', ['jobId', 'a b', 'type', 'ECHO']],
    ['jobId', ['jobId', 'a/b', 'type', 'ECHO']],
    ['jobId', ['jobId', '{x}', 'type', 'ECHO']],
    ['jobId', ['jobId', 'x'.repeat(129), 'type', 'ECHO']],
    ['jobId', ['jobId', '__proto__', 'type', 'ECHO']],
    ['jobId', ['jobId', 'j9', 'job_id', 'j8', 'type', 'ECHO']],
    ['type', ['jobId', 'j9']],
    ['type', ['jobId', 'j9', 'type', '']],
    ['type', ['jobId', 'j9', 'type', 'with space']],
    ['type', ['jobId', 'j9', 'type', 'x'.repeat(65)]],
    ['payload', [...good, 'payload', '']],
    ['payload', [...good, 'payload', '{"a":']],
    ['payload', [...good, 'payload', `"${'x'.repeat(600_000)}"`]],
    ['payload.timeout_ms', [...good, 'payload', '{"timeout_ms":0}']],
    ['payload.timeout_ms', [...good, 'payload', '{"timeout_ms":"soon"}']],
    ['timeout_ms', [...good, 'timeout_ms', '-1']],
    ['payload.target_node', [...good, 'payload', '{"target_node":{"a":1}}']],
    ['target_node', [...good, 'target_node', 'a b']],
    ['target_node', [...good, 'target_node', 'a', 'targetNode', 'b']],
    ['rayId', [...good, 'rayId', 'r'.repeat(300)]],
  ];
  it.each(bad)('is refused naming %s', (field, fields) => {
    const read = readJobEntry(QUEUE, '5-1', fields);
    expect(read).toMatchObject({ ok: false, field });
    expect((read as RejectedEntry).reason).toContain(field);
    expect((read as RejectedEntry).excerpt.length).toBeLessThanOrEqual(512);
  });

  it('is quoted without secrets', () => {
    const read = readJobEntry(QUEUE, '5-1', ['jobId', 'j9', 'type', '', 'payload', '{"api_key":"hunter2","prompt":"hi"}', 'token', 'hunter2']) as RejectedEntry;
    expect(read.excerpt).not.toContain('hunter2');
    expect(read.excerpt).toContain('prompt');
  });
});

describe('what a foreign worker leaves behind', () => {
  const progress = (type: string, data: unknown): string => JSON.stringify({ version: '1.0', type, jobId: 'j1', timestamp: 'now', data });
  const who = { attempt: 1, worker: 'w7', entry: '5-1' };

  it('is the newest outcome of its stream', () => {
    expect(
      foreignOutcome('j1', { progress: [progress('error', { message: 'no' }), progress('start', {}), progress('end', { result: 7 })], status: null }, who),
    ).toEqual({ type: 'end', result: 7, ...who });
    expect(foreignOutcome('j1', { progress: [progress('end', { text: 'hi' }), 'rubbish'], status: null }, who)).toEqual({
      type: 'end',
      result: { text: 'hi' },
      ...who,
    });
    expect(foreignOutcome('j1', { progress: [progress('error', { error: 'no GPU' })], status: null }, who)).toEqual({
      type: 'error',
      message: 'no GPU',
      ...who,
    });
    expect(foreignOutcome('j1', { progress: [progress('cancelled', {})], status: null }, who)).toEqual({ type: 'aborted', ...who });
  });

  it('is its status key, a hash or a JSON text', () => {
    const outcome = (status: readonly string[] | string): object => foreignOutcome('j1', { progress: [progress('start', {})], status }, {});
    expect(outcome(['status', 'completed', 'result', '{"n":1}'])).toEqual({ type: 'end', result: { n: 1 } });
    expect(outcome(['status', 'failed', 'error', 'out of memory'])).toEqual({ type: 'error', message: 'out of memory' });
    expect(outcome('{"status":"done","result":[1]}')).toEqual({ type: 'end', result: [1] });
    expect(outcome('{"state":"cancelled"}')).toEqual({ type: 'aborted' });
    expect(outcome('failed')).toEqual({ type: 'error' });
  });

  it('is a plain end when it only acknowledged', () => {
    for (const status of [null, '', 'processing', ['status', 'running'], '{"status":5}', ['status', 'constructor']])
      expect(foreignOutcome('j1', { progress: [], status }, who)).toEqual({ type: 'end', ...who });
  });

  it('is heard on the channel, ours not', () => {
    expect(foreignProgress('j1', progress('chunk', { progress: 5 }))).toEqual({ type: 'alive', progress: 5 });
    expect(foreignProgress('j1', progress('end', { text: 'hi' }))).toEqual({ type: 'end', result: { text: 'hi' } });
    expect(foreignProgress('j1', progress('claimed', {}))).toBeUndefined();
    expect(foreignProgress('j1', progress('end', { attempt: 1 }))).toBeUndefined();
    expect(foreignProgress('j1', '{}')).toBeUndefined();
  });
});
