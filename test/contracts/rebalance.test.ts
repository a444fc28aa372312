import { describe, expect, it } from 'vitest';
import { jobEvents, type RebalanceChange } from '../../machines/job/events.ts';
import { rebalanceExecutors, rebalanceStatusSource } from '../../src/contracts/rebalance.ts';
import type { Delivery } from '../../src/protocol/command.ts';
import type { Json } from '../../src/protocol/json.ts';
import type { RebalanceTelling } from '../../src/protocol/rebalance.ts';

const USER = 'GXHEXYVepv5EQnhq9VYVWkvW6QDMRj4QZA2B2mmKpCzq';
const JOB = '1731304200000-a7f3e2k';

function fixture(written = true) {
  const lines: string[] = [];
  const tellings: RebalanceTelling[] = [];
  const log = { info: (text: string) => void lines.push(text), error: (text: string) => void lines.push(`error: ${text}`) };
  const writer = {
    tell: async (telling: RebalanceTelling) => {
      tellings.push(telling);
      return { written, sockets: 1 };
    },
    isTold: async () => true,
    keepWaiting: async () => 0,
    firstOf: async (_key: string, value: string) => value,
  };
  return { lines, tellings, source: rebalanceStatusSource(log), executors: rebalanceExecutors(writer, log) };
}

function decode(message: Json | string) {
  const { source } = fixture();
  return source.decode(typeof message === 'string' ? message : JSON.stringify(message), source.channel);
}

describe('what the agent says', () => {
  it.each([
    [{ status: 'processing' }, { type: 'claimed' }],
    [{ status: 'done' }, { type: 'end' }],
    [
      { status: 'done', txHash: '0x1', result: 7 },
      { type: 'end', extra: { txHash: '0x1', result: 7 }, result: 7 },
    ],
    [
      { status: 'error', error: 'Processing failed: insufficient balance' },
      { type: 'error', message: 'Processing failed: insufficient balance', retryable: false },
    ],
    [
      { status: 'error', error: { message: 'no', code: 7 } },
      { type: 'error', message: 'no', retryable: false },
    ],
    [
      { status: 'error', error: null },
      { type: 'error', retryable: false },
    ],
    [
      { status: 'processing', step: 2, of: 5 },
      { type: 'claimed', extra: { step: 2, of: 5 } },
    ],
  ])('%j', (said, event) => {
    const decoded = decode({ jobId: JOB, userId: USER, ...said });
    const origin = { type: 'rebalance', via: 'rebalance', userId: USER, attempts: 1, source: 'agent:rebalance:status' };
    expect(decoded).toEqual({ ok: true, actor: `job/${JOB}`, event: { ...event, userId: USER, origin } });
    if (decoded.ok !== true) return;
    const { [decoded.event.type]: schema } = jobEvents as unknown as { readonly [type: string]: { safeParse(event: unknown): { readonly success: boolean } } };
    expect(schema?.safeParse(decoded.event).success).toBe(true);
  });

  it.each([
    ['not JSON', 'nonsense', 'invalid_json', 'message'],
    ['a list', [], 'invalid_json', 'message'],
    ['null', null, 'invalid_json', 'message'],
    ['nothing', {}, 'missing_field', 'jobId'],
    ['no job', { status: 'done', userId: USER }, 'missing_field', 'jobId'],
    ['a job that is no name', { jobId: 'a/b', status: 'done', userId: USER }, 'invalid_job_id', 'jobId'],
    ['a job named as nothing may be', { jobId: '__proto__', status: 'done', userId: USER }, 'invalid_job_id', 'jobId'],
    ['no user', { jobId: JOB, status: 'done' }, 'missing_field', 'userId'],
    ['a user that is a number', { jobId: JOB, status: 'done', userId: 7 }, 'invalid_field', 'userId'],
    ['a user beyond measure', { jobId: JOB, status: 'done', userId: 'u'.repeat(257) }, 'invalid_field', 'userId'],
    ['no status', { jobId: JOB, userId: USER }, 'missing_field', 'status'],
    ['a status of nobody', { jobId: JOB, userId: USER, status: 'completed' }, 'invalid_field', 'status'],
    ['too much', { jobId: JOB, userId: USER, status: 'done', more: 'x'.repeat(70_000) }, 'too_large', 'message'],
    ['too deep', `{"jobId":"j","userId":"u","status":"done","more":${'['.repeat(1_000)}${']'.repeat(1_000)}}`, 'invalid_field', 'more'],
  ])('is refused when it is %s', (_what, message, code, field) => {
    expect(decode(message)).toMatchObject({ ok: false, code, field, reason: expect.stringContaining(field) });
  });

  it('no secret of a refused message is quoted', () => {
    const refused = decode({ jobId: JOB, status: 'done', token: 'hunter2' });
    expect(refused).toMatchObject({ ok: false });
    expect(JSON.stringify(refused)).not.toContain('hunter2');
  });

  it('is logged in the words of the document', () => {
    const { source, lines } = fixture();
    source.onSubscribed?.();
    source.onMessage?.(JSON.stringify({ jobId: JOB, status: 'processing', userId: USER }));
    source.onMessage?.(JSON.stringify({ jobId: 'a\n[forged] line', status: 'done' }));
    source.onMessage?.('nonsense');
    source.onFailed?.(new Error('gone'));
    expect(lines).toEqual([
      '[Redis Subscribe] Subscribed to agent:rebalance:status (total: 1)',
      `[Redis Subscribe] Received status update: jobId=${JOB} status=processing user=${USER}`,
      '[Redis Subscribe] Received status update: jobId=a?[forged]?line status=done user=?',
      '[Redis Subscribe] Received status update: jobId=? status=? user=?',
      'error: Failed to setup Redis status subscription: gone',
    ]);
  });
});

describe('what the agent and the user are told', () => {
  const delivery = (change: Partial<RebalanceChange>, name = 'tellRebalance'): Delivery => ({
    key: `job/${JOB}#1731304200000-4-1`,
    actor: `job/${JOB}`,
    epoch: 1_731_304_200_000,
    revision: 4,
    at: Date.UTC(2025, 10, 11),
    command: {
      kind: 'effect',
      name,
      params: { jobId: JOB, userId: USER, status: 'queued', type: 'rebalance', payload: { priority: 'high', amount: 1000 }, ...change },
    },
  });
  const run = async (change: Partial<RebalanceChange>, effect: 'pushRebalance' | 'tellRebalance', written = true) => {
    const { executors, tellings, lines } = fixture(written);
    await executors[effect](delivery(change, effect), new AbortController().signal);
    return { telling: tellings[0], lines };
  };

  it('of a new job', async () => {
    const { telling, lines } = await run({ priority: 10 }, 'pushRebalance');
    expect(telling).toEqual({
      jobId: JOB,
      userId: USER,
      order: [1_731_304_200_000, 4, 1],
      createdAt: '2024-11-11T05:50:00.000Z',
      updatedAt: '2025-11-11T00:00:00.000Z',
      record: { jobId: JOB, status: 'queued', userId: USER, payload: { priority: 'high', amount: 1000 }, type: 'rebalance', priority: 'high' },
      pushTo: 'agent:rebalance:jobs',
      recordKey: `agent:rebalance:job:${JOB}`,
      recordKeptMs: 86_400_000,
      event: { name: 'rebalance:created', data: { jobId: JOB } },
    });
    expect(lines).toEqual([`LPUSH jobId=${JOB} to queue=agent:rebalance:jobs`, `[rebalance:created] jobId=${JOB} user=${USER} sockets=1`]);
  });

  it('of a change: what the agent added cannot stand for a field of the contract', async () => {
    const { telling, lines } = await run({ status: 'error', error: 'no', extra: { jobId: 'other', status: 'done', step: 2 } }, 'tellRebalance');
    expect(telling?.event).toEqual({ name: 'rebalance:error', data: { jobId: JOB, status: 'error', error: 'no', step: 2 } });
    expect(telling?.record).toMatchObject({ status: 'error', error: 'no', userId: USER });
    expect(telling).not.toHaveProperty('pushTo');
    expect(lines).toEqual([`[rebalance:error] jobId=${JOB} user=${USER}`]);
  });

  it('nothing is logged of what was told before', async () => {
    expect([await run({}, 'pushRebalance', false), await run({}, 'tellRebalance', false)].map(({ lines }) => lines)).toEqual([[], []]);
  });
});
