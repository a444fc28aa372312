/** The contract of task updates: which message becomes which event of a job, and what is told of a job's transitions. */
import { describe, expect, it } from 'vitest';
import { jobEvents } from '../../machines/job/events.ts';
import { readGeneralUpdate, readTaskUpdate, UPDATE_MAX, writeGeneralUpdate, writeTaskUpdate } from '../../src/contracts/task-message.ts';
import { OUR_SOURCE, taskUpdatesOf, taskUpdatesSource } from '../../src/contracts/tasks.ts';
import type { Json } from '../../src/protocol/json.ts';
import type { Transition } from '../../src/protocol/record.ts';
import type { DecodedMessage, RejectedEntry } from '../../src/protocol/source.ts';

const AT = Date.parse('2026-03-04T05:06:07.008Z');
const ORIGIN = { type: 'task', via: 'none', source: 'task_updates', timeoutMs: 86_400_000 };

function decoded(message: object): DecodedMessage {
  const read = taskUpdatesSource.decode(JSON.stringify(message), 'task_updates');
  if (read.ok !== true) throw new Error(JSON.stringify(read));
  return read;
}

function refused(message: object | string): RejectedEntry {
  const read = taskUpdatesSource.decode(typeof message === 'string' ? message : JSON.stringify(message), 'task_updates');
  if (read.ok !== false) throw new Error(JSON.stringify(read));
  return read;
}

describe('a task update', () => {
  const pairs: readonly (readonly [data: object, event: object])[] = [
    [{ status: 'pending' }, { type: 'submit', spec: ORIGIN }],
    [{ status: 'in_progress' }, { type: 'claimed', worker: 'api', origin: ORIGIN }],
    [
      { status: 'in_progress', message: 'Processing commission...', progress: 50 },
      { type: 'claimed', worker: 'api', origin: ORIGIN, message: 'Processing commission...', progress: 50 },
    ],
    [
      { status: 'completed', result: { url: '/a.png' } },
      { type: 'end', worker: 'api', origin: ORIGIN, result: { url: '/a.png' } },
    ],
    [
      { status: 'failed', message: 'no credit' },
      { type: 'error', worker: 'api', origin: ORIGIN, message: 'no credit', retryable: false },
    ],
    [
      { status: 'failed', error: 'no credit' },
      { type: 'error', worker: 'api', origin: ORIGIN, message: 'no credit', retryable: false },
    ],
  ];
  it.each(pairs)('%j becomes an event that the job declares, wrapped or flat', (data, event) => {
    const wrapped = decoded({ type: 'task_update', task_id: 'task-123', data, timestamp: '2026-01-01T00:00:00.123+02:00', source: 'api' });
    expect(wrapped).toEqual({ ok: true, actor: 'job/task-123', event });
    expect(decoded({ task_id: 'task-123', ...data, source: 'api' })).toEqual(wrapped);
    expect(jobEvents[wrapped.event.type as 'end'].safeParse(wrapped.event).error).toBeUndefined();
  });

  it('may spell its id otherwise, as a number too, and leave out the rest', () => {
    expect(decoded({ taskId: 17, status: 'completed' })).toEqual({ ok: true, actor: 'job/17', event: { type: 'end', origin: ORIGIN } });
    expect(decoded({ task_id: 't', data: { status: 'in_progress', message: null, progress: null } }).event).toEqual({ type: 'claimed', origin: ORIGIN });
  });

  it('of our own is ignored on its return', () => {
    const [message = ''] = taskUpdatesOf(transition('queued', 'processing'));
    expect(taskUpdatesSource.decode(message, 'task_updates')).toEqual({ ok: 'ignored' });
    expect(taskUpdatesSource.decode(writeTaskUpdate('t', { status: 'pending' }, 'now', 'another'), 'task_updates')).toMatchObject({ ok: true });
  });

  const faults: readonly (readonly [message: object | string, code: string, field: string])[] = [
    ['{"task_id":', 'invalid_json', 'message'],
    ['[1]', 'invalid_json', 'message'],
    [{ status: 'pending' }, 'missing_field', 'task_id'],
    [{ task_id: '', status: 'pending' }, 'missing_field', 'task_id'],
    [{ task_id: 'a/b', status: 'pending' }, 'invalid_task_id', 'task_id'],
    [{ task_id: '__proto__', status: 'pending' }, 'invalid_task_id', 'task_id'],
    [{ task_id: { a: 1 }, status: 'pending' }, 'invalid_task_id', 'task_id'],
    [{ task_id: 't' }, 'missing_field', 'status'],
    [{ task_id: 't', data: {} }, 'missing_field', 'data.status'],
    [{ task_id: 't', status: 'paused' }, 'invalid_field', 'status'],
    [{ task_id: 't', data: { status: 'paused' } }, 'invalid_field', 'data.status'],
    [{ task_id: 't', data: { status: 'in_progress', progress: 101 } }, 'invalid_field', 'data.progress'],
    [{ task_id: 't', status: 'in_progress', message: 7 }, 'invalid_field', 'message'],
  ];
  it.each(faults)('%j is refused as %s at %s', (message, code, field) => {
    const rejected = refused(message);
    expect(rejected).toMatchObject({ code, field });
    expect(rejected.reason).toMatch(/^The (message|field [\w.]+) .+\.$/);
  });

  it('beyond the bound is refused', () => {
    expect(refused({ task_id: 't', status: 'pending', note: 'x'.repeat(UPDATE_MAX) })).toMatchObject({ code: 'too_large', field: 'message' });
  });

  it('is quoted without secrets', () => {
    expect(refused({ task_id: 't', status: 'paused', api_key: 'k-123' }).excerpt).not.toContain('k-123');
  });
});

describe('a general update', () => {
  it('is read wrapped and flat', () => {
    const data = { type: 'system_notification', message: 'System maintenance scheduled' };
    const written = writeGeneralUpdate(data, '2026-01-01T00:00:00Z', 'api');
    expect(JSON.parse(written)).toEqual({ type: 'general_update', data, timestamp: '2026-01-01T00:00:00Z', source: 'api' });
    expect(readGeneralUpdate(written)).toEqual({ ok: true, message: JSON.parse(written) });
    expect(readGeneralUpdate(JSON.stringify(data))).toEqual({ ok: true, message: { type: 'general_update', data } });
    expect(readGeneralUpdate('{"type":"general_update","data":3}')).toMatchObject({ ok: false, field: 'data' });
    expect(readGeneralUpdate('nothing')).toMatchObject({ ok: false, field: 'message', reason: 'The message is not a JSON object.' });
  });
});

describe('what is told of a job', () => {
  it('is its task update, with every field of the contract', () => {
    expect(told(transition('queued', 'processing', { type: 'claimed', progress: 5, message: 'loading' }))).toEqual([
      {
        type: 'task_update',
        task_id: 'j1',
        data: { status: 'in_progress', message: 'loading', progress: 5 },
        timestamp: '2026-03-04T05:06:07.008Z',
        source: OUR_SOURCE,
      },
    ]);
  });

  const pairs: readonly (readonly [from: Json, to: Json, event: object, data: readonly object[]])[] = [
    [null, 'queued', { type: 'submit' }, [{ status: 'pending' }]],
    [null, 'scheduled', { type: 'submit' }, [{ status: 'pending', message: 'waits for its time' }]],
    [null, 'waiting', { type: 'submit' }, [{ status: 'pending', message: 'waits for its children' }]],
    ['queued', { processing: 'running' }, { type: 'claimed' }, [{ status: 'in_progress' }]],
    ['processing', 'retrying', { type: 'error', message: 'boom' }, [{ status: 'pending', message: 'waits to be tried again: boom' }]],
    [{ processing: 'doubted' }, 'done', { type: 'end' }, [{ status: 'completed', progress: 100 }]],
    ['queued', 'done', { type: 'end', message: 'ok' }, [{ status: 'in_progress' }, { status: 'completed', message: 'ok', progress: 100 }]],
    ['processing', 'error', { type: 'error', message: 'boom' }, [{ status: 'failed', message: 'boom' }]],
    ['processing', 'error', { type: 'nodeState' }, [{ status: 'failed', message: 'its worker was lost' }]],
    ['processing', 'processing', { type: 'nodeState' }, [{ status: 'in_progress' }]],
    ['processing', 'retrying', { type: 'stalled' }, [{ status: 'pending', message: 'waits to be tried again: its worker was lost' }]],
    ['processing', 'error', { type: 'error' }, [{ status: 'failed', message: 'failed' }]],
    ['queued', 'cancelled', { type: 'cancel' }, [{ status: 'failed', message: 'cancelled' }]],
    ['queued', 'cancelled', { type: 'cancel', reason: 'a mistake' }, [{ status: 'failed', message: 'cancelled: a mistake' }]],
  ];
  it.each(pairs)('from %j to %j by %j', (from, to, event, data) => {
    expect(told(transition(from, to, event)).map((message) => message.data)).toEqual(data);
  });

  it('says why a job waits for a node, and why it was given up', () => {
    const looked = {
      ...transition('placing', 'placing'),
      stimulus: { kind: 'settled', invocation: 'i', token: 't', outcome: { ok: true, output: { reason: 'no online node has tag gpu' } } },
    } as const;
    expect(told(looked).map((message) => message.data)).toEqual([{ status: 'pending', message: 'no online node has tag gpu' }]);
    const late = { ...transition('processing', 'error'), stimulus: { kind: 'timer', timer: '|timeout' } } as const;
    expect(told(late).map((message) => message.data)).toEqual([{ status: 'failed', message: 'it ran longer than it may' }]);
    const buried = {
      ...transition('processing', 'error', { type: 'nodeState' }),
      commands: [{ kind: 'message', to: 'dlq/gpu-general', event: { type: 'bury', reason: 'its worker was lost 3 times' } }],
    } as const;
    expect(told(buried).map((message) => message.data)).toEqual([{ status: 'failed', message: 'its worker was lost 3 times' }]);
  });

  const late: [Json, { type: string; message?: string }][] = [
    ['done', { type: 'end' }],
    ['done', { type: 'claimed' }],
    ['error', { type: 'error', message: 'too late' }],
    ['cancelled', { type: 'end' }],
    ['error', { type: 'childEnded' }],
    ['retrying', { type: 'alive' }],
    ['queued', { type: 'claimed' }],
    ['processing', { type: 'error', message: 'of an older attempt' }],
  ];
  it.each(late)('says nothing of a job that stays %j, whatever %j says', (state, event) => {
    expect(taskUpdatesOf(transition(state, state, event))).toEqual([]);
  });

  it('says how a task that is only followed gets on', () => {
    expect(told(transition('processing', 'processing', { type: 'claimed', progress: 70 })).map(({ data }) => data)).toEqual([
      { status: 'in_progress', progress: 70 },
    ]);
  });

  it('reads back as it was written', () => {
    for (const text of taskUpdatesOf(transition('queued', 'done'))) expect(readTaskUpdate(text)).toEqual({ ok: true, message: JSON.parse(text) });
  });
});

function told(of: Transition): { readonly data: object }[] {
  return taskUpdatesOf(of).map((text) => JSON.parse(text) as { data: object });
}

function transition(from: Json, to: Json, event: object = { type: 'claimed' }): Transition {
  return {
    ...{ key: 'job/j1', revision: 2, at: AT, version: '1', from, to, commands: [], emitted: [], logs: [], previous: null },
    cause: { source: 'stream:job:reports', ref: '1-1' },
    stimulus: { kind: 'event', event: event as { type: string } },
  };
}
