/** A job that is out there already and only followed: tasks, chunks that are taken in. */
import { describe, expect, it } from 'vitest';
import { jobType } from '../../machines/job/definition.ts';
import { ingestionSource } from '../../src/contracts/shield.ts';
import { taskUpdatesSource } from '../../src/contracts/tasks.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';
import { given } from '../../src/testing/index.ts';

const type = jobType({ place: async () => ({ nodeId: 'n' }) });

function task(status: string, more: object = {}): MachineEvent {
  const read = taskUpdatesSource.decode(JSON.stringify({ task_id: 't', status, ...more }), 'task_updates');
  if (read.ok !== true) throw new Error(JSON.stringify(read));
  return read.event;
}

function chunk(entry: string, retries = 0): MachineEvent {
  const read = ingestionSource.decode(entry, ['job_id', 'j', 'chunk_id', 'c', 'content', 'x', 'retry_count', String(retries)]);
  if (!read.ok) throw new Error(JSON.stringify(read));
  return read.event;
}

describe('a task', () => {
  it('that nobody submitted begins wherever its first update says', () => {
    expect(given(type, { id: 't' }).when(task('pending')).value).toBe('queued');
    expect(given(type, { id: 't' }).when(task('in_progress', { progress: 5 })).value).toBe('processing');
    expect(given(type, { id: 't' }).when(task('completed')).value).toBe('done');
    expect(given(type, { id: 't' }).when(task('failed', { message: 'no credit' })).value).toBe('error');
  });

  it('is hardly written while it goes on, and is not posted anywhere', () => {
    const job = given(type, { id: 't' }).when(task('pending')).when(task('in_progress'));
    expect(job.messages).toEqual([]);
    expect(job.commands).toEqual([]);
    expect(job.when(task('in_progress', { progress: 60, message: 'draws' })).outcome).toBe('touch');
    expect(job.when(task('pending')).outcome).toBe('ignored');
    expect(job.value).toBe('processing');
  });

  it('may go on after it failed, and is final once completed', () => {
    const job = given(type, { id: 't' }).when(task('failed')).when(task('in_progress'));
    expect(job.value).toBe('processing');
    job.when(task('completed', { result: 1 })).when(task('in_progress'));
    expect(job.value).toBe('done');
    expect(job.context).toMatchObject({ result: 1 });
  });
});

describe('a chunk', () => {
  const acknowledged = (entry: string): MachineEvent => ({ type: 'end', entry, worker: 'w' });

  it('is done when its entry is acknowledged', () => {
    const job = given(type, { id: 'j@c' }).when(chunk('5-0'));
    expect(job.value).toBe('queued');
    expect(job.when({ type: 'claimed', worker: 'w', entry: '5-0' }).value).toBe('processing');
    expect(job.when(acknowledged('5-0')).value).toBe('done');
  });

  it('that is enqueued again is queued again, from wherever it was; the acknowledgement of the entry before is late', () => {
    const job = given(type, { id: 'j@c' }).when(chunk('5-0')).when({ type: 'claimed', worker: 'w', entry: '5-0' }).when(chunk('7-0', 1));
    expect(job.value).toBe('queued');
    expect(job.timers).toEqual([]);
    expect(job.context).toMatchObject({ entry: '7-0', payload: { retry_count: 1 } });
    expect(job.when(acknowledged('5-0')).value).toBe('queued');
    expect(job.when(chunk('6-0')).outcome).toBe('ignored');
    expect(job.when(acknowledged('7-0')).value).toBe('done');
    expect(job.when(chunk('9-0', 2)).value).toBe('queued');
    expect(job.context).toMatchObject({ entry: '9-0' });
  });

  it('that failed stays failed when its entry is acknowledged, until it is enqueued again', () => {
    const job = given(type, { id: 'j@c' }).when(chunk('5-0')).when({ type: 'error', message: 'no model' });
    expect(job.value).toBe('error');
    expect(job.when(acknowledged('5-0')).outcome).toBe('ignored');
    expect(job.when(chunk('7-0', 1)).value).toBe('queued');
    expect(job.context).toMatchObject({ error: undefined, failures: undefined });
  });
});

it('a job of a worker queue is not put back by an entry that somebody adds', () => {
  const spec = { type: 'ECHO', via: 'queue' } as const;
  const job = given(type, { id: 'j' }).when({ type: 'submit', spec }).when({ type: 'claimed', attempt: 1, worker: 'castellan:n:1', nodeId: 'n', entry: '1-0' });
  expect(job.when({ type: 'adopt', spec, entry: '9-0' }).outcome).toBe('ignored');
});
