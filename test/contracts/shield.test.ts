/** The contract of the ingestion streams: entries both ways, in both codecs, and the jobs that they drive. */
import { describe, expect, it } from 'vitest';
import { jobEvents } from '../../machines/job/events.ts';
import { decodeField, encodeField, shieldCodecFrom, textOf } from '../../src/contracts/shield-codec.ts';
import { readEvent, readTask, shieldJobId, writeEvent, writeTask, type ShieldTask } from '../../src/contracts/shield-entry.ts';
import { ingestionQueue, ingestionSource, shieldEventsSource } from '../../src/contracts/shield.ts';
import type { Json } from '../../src/protocol/json.ts';
import type { StreamSource } from '../../src/protocol/source.ts';

const TASK = {
  ...{ job_id: 'job-1', chunk_id: 'chunk_0', content: 'Grüße aus der Tiefe', source_uri: 'file:///a.pdf', source_type: 'pdf' },
  ...{ metadata: { page: 3, title: 'Über', tags: ['a', null] }, retry_count: 0, timestamp: '2026-03-04T05:06:07Z' },
} as const satisfies ShieldTask;

/** As a source that is `binary` is given them. */
function bytes(fields: readonly (string | Uint8Array)[]): string[] {
  return fields.map((field) => Buffer.from(field as string).toString('latin1'));
}

function decoded(source: StreamSource, fields: readonly string[]): object {
  const read = source.decode('17-0', fields);
  if (!read.ok) throw new Error(JSON.stringify(read));
  expect(jobEvents[read.event.type as 'end'].safeParse(read.event).error).toBeUndefined();
  return read.event;
}

describe('a JSON field', () => {
  const values: readonly Json[] = [{}, [], { a: 1, b: 'ü', c: [1, { d: null }] }, [true, 1.5, -3]];
  it.each(values)('%j is read in both codecs', (value) => {
    for (const codec of ['json', 'msgpack'] as const) expect(decodeField(bytes([encodeField(value, codec)])[0] as string)).toEqual(value);
  });

  it('that is neither is nothing, whatever it holds', () => {
    const hostile = ['hello', '{', '\u0081', '\u00df\u00ff\u00ff\u00ff\u00ff', '\u0091'.repeat(200_000), '\u0081\u00c7'];
    for (const field of hostile) expect(decodeField(field)).toBeUndefined();
    const prototype = decodeField('\u0081\u00a9__proto__\u0081\u00a1x\u0001') as object;
    expect((prototype as { x?: number }).x).toBeUndefined();
  });

  it('is written as SHIELD_CODEC says', () => {
    expect(shieldCodecFrom({})).toBe('json');
    expect(shieldCodecFrom({ SHIELD_CODEC: '' })).toBe('json');
    expect(shieldCodecFrom({ SHIELD_CODEC: 'MsgPack' })).toBe('msgpack');
    expect(() => shieldCodecFrom({ SHIELD_CODEC: 'xml' })).toThrow(/SHIELD_CODEC must be one of json, msgpack/);
  });
});

describe('a chunk', () => {
  it.each(['json', 'msgpack'] as const)('is written with every field of the contract and read back (%s)', (codec) => {
    const fields = bytes(writeTask(TASK, codec));
    expect(fields.filter((_, index) => index % 2 === 0)).toEqual(
      ['job_id', 'chunk_id', 'content', 'source_uri', 'source_type', 'metadata', 'retry_count', 'timestamp'], //
    );
    expect(readTask(fields)).toEqual({ ok: true, task: TASK, jobId: 'job-1@chunk_0' });
  });

  it('is a job of its own: no two share an id', () => {
    expect(shieldJobId(['job_id', 'a', 'chunk_id', 'b'])).toBe('a@b');
    expect(shieldJobId(['chunk_id', 'b', 'job_id', 'a'])).toBe('a@b');
    expect(shieldJobId(['job_id', 'a', 'chunk_id', ''])).toBe('a');
    expect(shieldJobId(['job_id', 'a@x', 'chunk_id', 'b'])).toBeUndefined();
    expect(shieldJobId(['job_id', 'a', 'chunk_id', 'x@b'])).toBeUndefined();
    expect(ingestionQueue).toMatchObject({ stream: 'shield:ingestion_queue', contract: { group: 'lightrag-workers', fields: ['job_id', 'chunk_id'] } });
    expect(ingestionQueue.contract.jobOf(['job_id', 'a', 'chunk_id', 'b'])).toEqual({ jobId: 'a@b' });
    expect(ingestionQueue.contract.jobOf(['chunk_id', 'b'])).toBeUndefined();
  });

  it('is adopted by its job with its beginning, the rest stays in the stream', () => {
    expect(ingestionSource.keyOf(bytes(writeTask(TASK, 'json')))).toBe('job/job-1@chunk_0');
    expect(decoded(ingestionSource, bytes(writeTask(TASK, 'msgpack')))).toEqual({
      ...{ type: 'adopt', entry: '17-0' },
      spec: { type: 'ingestion', via: 'none', source: 'shield:ingestion_queue', timeoutMs: 86_400_000, payload: TASK },
    });
    const long = decoded(ingestionSource, bytes(writeTask({ ...TASK, content: 'x'.repeat(5_000) }, 'json'))) as { spec: { payload: object } };
    expect(long.spec.payload).toMatchObject({ content: 'x'.repeat(1_024), content_length: 5_000 });
  });

  it('may leave out what is not needed', () => {
    expect(readTask(['job_id', 'a', 'source_uri', 's3://b'])).toEqual({
      ok: true,
      jobId: 'a',
      task: { job_id: 'a', content: '', source_uri: 's3://b', retry_count: 0 },
    });
  });

  const faults: readonly (readonly [fields: readonly string[], field: string])[] = [
    [[], 'job_id'],
    [['chunk_id', 'b', 'content', 'c'], 'job_id'],
    [['job_id', 'a/b', 'content', 'c'], 'job_id'],
    [['job_id', '__proto__', 'content', 'c'], 'job_id'],
    [['job_id', 'a', 'chunk_id', 'b c', 'content', 'c'], 'chunk_id'],
    [['job_id', 'a'.repeat(100), 'chunk_id', 'b'.repeat(100), 'content', 'c'], 'chunk_id'],
    [['job_id', 'a', 'chunk_id', 'b'], 'content'],
    [['job_id', 'a', 'content', 'c', 'retry_count', '-1'], 'retry_count'],
    [['job_id', 'a', 'content', 'c', 'metadata', '{"a":'], 'metadata'],
  ];
  it.each(faults)('%j is refused, naming %s', (fields, field) => {
    expect(ingestionSource.decode('1-1', fields)).toMatchObject({ ok: false, field });
    if (field === 'job_id' || field === 'chunk_id') expect(ingestionSource.keyOf(fields)).toBeUndefined();
  });

  it('that cannot be one is not written', () => {
    expect(() => writeTask({ ...TASK, job_id: 'a b' }, 'json')).toThrow(/The field job_id must match/);
    expect(() => writeTask({ ...TASK, retry_count: 0.5 }, 'json')).toThrow(/The field retry_count must be a whole number/);
  });
});

describe('an event', () => {
  const event = (type: string, data: Json = {}, more: readonly string[] = []): string[] =>
    bytes([...writeEvent({ event_id: 'e1', type, job_id: 'job-1', timestamp: 't', data }, 'json'), ...more]);

  it('is written with every field of the contract and read back', () => {
    const written = writeEvent({ event_id: 'e1', type: 'job.completed', timestamp: 't', job_id: 'j', data: { a: 'ü' }, metadata: { b: 1 } }, 'msgpack');
    expect(readEvent(bytes(written))).toEqual({
      ok: true,
      event: { event_id: 'e1', type: 'job.completed', timestamp: 't', job_id: 'j', data: { a: 'ü' }, metadata: { b: 1 } },
    });
    expect(written.filter((_, index) => index % 2 === 0)).toEqual(['event_id', 'type', 'timestamp', 'job_id', 'data', 'metadata']);
    expect(textOf('Ã¼')).toBe('ü');
  });

  const pairs: readonly (readonly [type: string, data: Json, event: object])[] = [
    ['processing', {}, { type: 'claimed' }],
    ['job.started', { message: 'reads' }, { type: 'claimed', message: 'reads' }],
    ['chunk_progress', { progress: 40 }, { type: 'claimed', progress: 40 }],
    ['JOB_COMPLETED', {}, { type: 'end' }],
    ['ingestion:completed', { entities: 12 }, { type: 'end', result: { entities: 12 } }],
    ['completed', { result: 'ok' }, { type: 'end', result: 'ok' }],
    ['task-failed', { error: 'no model' }, { type: 'error', message: 'no model' }],
  ];
  it.each(pairs)('%s with %j drives its job', (type, data, expected) => {
    expect(shieldEventsSource.keyOf(event(type, data))).toBe('job/job-1');
    expect(shieldEventsSource.keyOf(event(type, data, ['chunk_id', 'c2']))).toBe('job/job-1@c2');
    expect(decoded(shieldEventsSource, event(type, data))).toEqual({
      origin: { type: 'ingestion', via: 'none', source: 'shield:events', timeoutMs: 86_400_000 },
      ...expected,
    });
  });

  it('of any other kind, or of no job, is left alone', () => {
    for (const type of ['user.login', 'document.completed', 'constructor', 'completed.twice', 'job.']) expect(shieldEventsSource.keyOf(event(type))).toBeNull();
    expect(shieldEventsSource.keyOf(['type', 'completed'])).toBeNull();
    expect(shieldEventsSource.keyOf(['type', 'completed', 'job_id', 'a b'])).toBeNull();
    expect(shieldEventsSource.keyOf(['job_id', 'j'])).toBeNull();
    expect(shieldEventsSource.keyOf(['type', 'completed', 'job_id', 'j@c'])).toBe('job/j@c');
  });

  it('of a job with bad data is refused', () => {
    expect(shieldEventsSource.decode('1-1', ['type', 'completed', 'job_id', 'j', 'data', 'nothing'])).toMatchObject({ ok: false, field: 'data' });
  });
});
