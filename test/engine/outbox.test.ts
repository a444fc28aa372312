import { describe, expect, it } from 'vitest';
import { registerActorType } from '../../src/core/kernel.ts';
import { HostedTypes } from '../../src/engine/actor-types.ts';
import type { OutboxItem } from '../../src/engine/batch-writes.ts';
import { Meter } from '../../src/engine/meter.ts';
import { Notices } from '../../src/engine/notices.ts';
import { Outbox } from '../../src/engine/outbox.ts';
import type { EngineStore } from '../../src/engine/ports.ts';
import { DEFAULT_SETTINGS } from '../../src/engine/settings.ts';
import type { Executor } from '../../src/protocol/command.ts';
import type { Post } from '../../src/protocol/outlet.ts';
import { workloadTypes } from '../simulator/machines.ts';
import { ManualClock } from './manual-clock.ts';

type Acknowledgement = Parameters<EngineStore['acknowledge']>[0];

const EPOCH = 7;

function effect(revision: number): OutboxItem {
  const command = { kind: 'effect', name: 'print', params: { n: revision } } as const;
  return { delivery: { key: `printer/a#${EPOCH}-${revision}-0`, actor: 'printer/a', epoch: EPOCH, revision, at: 0, command } };
}

function message(number: number): OutboxItem {
  return { message: { envelope: { actor: 'ledger/a', event: { type: 'add' }, source: 'actor:courier/a' }, from: 1, number } };
}

function post(stream: string, count: number): OutboxItem {
  return { post: { stream, fields: ['n', String(count)], from: 1, number: `${EPOCH}-${count}` } };
}

/** `answer` decides what becomes of each acknowledgement: false is fenced, an error is no answer. */
function fixture(executor: Executor, answer: (call: Acknowledgement) => boolean | Error = () => true) {
  const clock = new ManualClock();
  const calls: Acknowledgement[] = [];
  const messages: number[][] = [];
  const fenced: number[] = [];
  const warnings: string[] = [];
  const posts: Post[][] = [];
  const refusing = new Set<string>();
  let fails = 0;
  const types = new HostedTypes(
    workloadTypes(async () => null).map((definition) => ({ registered: registerActorType(definition), executors: { print: executor, log: executor } })),
  );
  const outbox = new Outbox({
    notices: new Notices(clock, (text) => void warnings.push(text)),
    store: {
      acknowledge: async (call) => {
        calls.push(call);
        const answered = answer(call);
        if (answered instanceof Error) throw answered;
        return answered;
      },
      appendMessages: async (sent) => {
        messages.push(sent.map(({ number }) => number));
        if (fails-- > 0) throw new Error('Connection is closed');
      },
      post: async (sent) => {
        posts.push([...sent]);
        return sent.map(({ stream }) => (refusing.has(stream) ? new Error('WRONGTYPE') : undefined));
      },
    },
    clock,
    settings: { ...DEFAULT_SETTINGS, effectAttemptsMax: 3 },
    types,
    meter: new Meter(),
    owner: 'engine',
    redisNow: () => 0,
    fenced: (partition) => {
      fenced.push(partition);
      outbox.close(partition);
    },
  });
  const abort = new AbortController();
  const ended = outbox.run(abort.signal);
  outbox.open(1, EPOCH, [], []);
  const stop = async (): Promise<void> => {
    abort.abort();
    await clock.advance(0);
    await ended;
  };
  return { outbox, clock, calls, messages, posts, refusing, fenced, warnings, stop, failMessages: (times: number) => void (fails = times) };
}

const works: Executor = async () => undefined;
const lost = new Error('Connection reset');

describe('the outbox', () => {
  it('acknowledges a commit when all of it is delivered, and none after one that is not', async () => {
    let finish = (): void => undefined;
    const { outbox, clock, calls, stop } = fixture(({ revision }) => (revision === 1 ? new Promise((resolve) => (finish = resolve)) : Promise.resolve()));
    outbox.add(1, `${EPOCH}-1`, [effect(1), message(1)]);
    outbox.add(1, `${EPOCH}-2`, [message(2)]);
    await clock.advance(1_000);
    expect(calls).toEqual([]);
    expect(outbox.depth).toBe(1);
    finish();
    await clock.advance(1_000);
    expect(calls.map(({ number, through }) => [number, through])).toEqual([[1, `${EPOCH}-2`]]);
    expect(outbox.depth).toBe(0);
    await stop();
  });

  it('repeats an unanswered acknowledgement as it was, then says what is new', async () => {
    let answers = 0;
    const { outbox, clock, calls, stop } = fixture(works, () => (answers++ < 2 ? lost : true));
    outbox.add(1, `${EPOCH}-1`, [message(1)]);
    await clock.advance(30);
    outbox.add(1, `${EPOCH}-2`, [message(2)]);
    await clock.advance(1_000);
    expect(calls.map(({ number, through }) => [number, through])).toEqual([
      [1, `${EPOCH}-1`],
      [1, `${EPOCH}-1`],
      [1, `${EPOCH}-1`],
      [2, `${EPOCH}-2`],
    ]);
    expect(calls[1]).toEqual(calls[0]);
    await stop();
  });

  it('passes a failed command once the retry set holds it, and takes it out when it is delivered', async () => {
    let tries = 0;
    const { outbox, clock, calls, stop } = fixture(async () => {
      if (++tries < 2) throw new Error('no');
    });
    outbox.add(1, `${EPOCH}-1`, [effect(1)]);
    await clock.advance(100);
    expect(calls).toMatchObject([{ through: `${EPOCH}-1`, retriesSet: [{ key: `printer/a#${EPOCH}-1-0` }], retriesRemoved: [] }]);
    await clock.advance(10_000);
    expect(calls.slice(1)).toMatchObject([{ through: null, retriesSet: [], retriesRemoved: [`printer/a#${EPOCH}-1-0`] }]);
    await stop();
  });

  it('stores one dead letter for an effect that is given up, even when the answer is lost', async () => {
    const { warnings, outbox, clock, calls, stop } = fixture(
      async () => {
        throw new Error('no');
      },
      (call) => (call.deadLetters.length > 0 && calls.filter(({ number }) => number === call.number).length < 3 ? lost : true),
    );
    outbox.add(1, `${EPOCH}-1`, [effect(1)]);
    await clock.advance(60_000);
    const letters = new Map(calls.filter(({ deadLetters }) => deadLetters.length > 0).map(({ number, deadLetters }) => [number, deadLetters.length]));
    expect([...letters.values()]).toEqual([1]);
    expect(JSON.parse(calls[calls.length - 1]?.deadLetters[0] ?? '{}')).toMatchObject({ code: 'effect_failed', actor: 'printer/a' });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/printer\/a#7-\d+-0 was given up/);
    expect(outbox.depth).toBe(0);
    await stop();
  });

  it('tells how long something has been waiting without any delivery', async () => {
    let there = false;
    const { outbox, clock, stop } = fixture(async () => {
      if (!there) throw new Error('away');
    });
    await clock.advance(5_000);
    expect(outbox.stalledMs).toBe(0);
    outbox.add(1, `${EPOCH}-1`, [effect(1)]);
    await clock.advance(100);
    expect(outbox.stalledMs).toBe(100);
    there = true;
    await clock.advance(1_000);
    expect(outbox.stalledMs).toBe(0);
    await stop();
  });

  it('appends messages in the order of their numbers, repeating from the first that is not known to be there', async () => {
    const { outbox, clock, messages, stop, failMessages } = fixture(works);
    failMessages(1);
    outbox.add(1, `${EPOCH}-1`, [message(1), message(2)]);
    outbox.add(1, `${EPOCH}-2`, [message(3)]);
    await clock.advance(1_000);
    expect(messages.flat().filter((number, index, all) => all.indexOf(number) === index)).toEqual([1, 2, 3]);
    expect(messages[0]?.[0]).toBe(1);
    expect(messages[1]?.[0]).toBe(1);
    await stop();
  });

  it('delivers posts in order per stream, and holds up no other stream and no message for one that refuses', async () => {
    const { outbox, clock, calls, messages, posts, refusing, warnings, stop } = fixture(works);
    refusing.add('dead');
    outbox.add(1, `${EPOCH}-1`, [post('dead', 1), post('alive', 2), message(1)]);
    outbox.add(1, `${EPOCH}-2`, [post('alive', 3), post('dead', 4)]);
    await clock.advance(1_000);
    const alive = posts.flat().filter(({ stream }) => stream === 'alive');
    expect(alive.map(({ number }) => number)).toEqual([`${EPOCH}-2`, `${EPOCH}-3`]);
    expect(messages).toEqual([[1]]);
    expect([calls, outbox.depth]).toEqual([[], 2]);
    expect(warnings[0]).toContain('the stream dead wait because it does not take them: WRONGTYPE');
    refusing.clear();
    await clock.advance(10_000);
    expect(posts.at(-1)?.map(({ stream, number }) => [stream, number])).toEqual([
      ['dead', `${EPOCH}-1`],
      ['dead', `${EPOCH}-4`],
    ]);
    expect(calls.map(({ through }) => through)).toEqual([`${EPOCH}-2`]);
    await stop();
  });

  it('forgets the posts of a partition that was lost, also while they are on their way', async () => {
    const { outbox, clock, posts, refusing, stop } = fixture(works);
    refusing.add('dead');
    outbox.add(1, `${EPOCH}-1`, [post('dead', 1)]);
    await clock.advance(10);
    outbox.close(1);
    const tried = posts.length;
    await clock.advance(10_000);
    expect([posts.length, outbox.depth]).toEqual([tried, 0]);
    await stop();
  });

  it('tells that the partition belongs to another engine, and owes nothing for it any more', async () => {
    const { outbox, clock, fenced, stop } = fixture(works, () => false);
    outbox.add(1, `${EPOCH}-1`, [message(1), effect(1)]);
    await clock.advance(100);
    expect([fenced, outbox.depth]).toEqual([[1], 0]);
    await stop();
  });

  it('resumes retries in the order in which they were decided, before what else its last owner owed', async () => {
    const seen: number[] = [];
    const { outbox, clock, stop } = fixture(async ({ revision }) => void seen.push(revision));
    const retry = (revision: number) => {
      const item = effect(revision) as Extract<OutboxItem, { delivery: unknown }>;
      return { key: item.delivery.key, value: JSON.stringify({ delivery: item.delivery, attempts: 1, lastError: 'no' }) };
    };
    outbox.open(1, EPOCH + 1, [[`${EPOCH}-9`, JSON.stringify([effect(11)])]], [retry(10), retry(2), retry(9)]);
    await clock.advance(100);
    expect(seen).toEqual([2, 9, 10, 11]);
    await stop();
  });
});
