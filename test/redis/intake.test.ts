/** Lists and channels of other systems, read over a real Redis by readers that are killed. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CHANNEL_WAITING_MAX } from '../../src/engine/channel-reader.ts';
import { decodeInboxEntry } from '../../src/protocol/inbox-entry.ts';
import { PARTITION_COUNT } from '../../src/protocol/ids.ts';
import { until } from '../agent/until.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { connectedReader } from './list-readers.ts';

const LIST = 'other:jobs';
const PROCESS = fileURLToPath(new URL('./list-reader-process.ts', import.meta.url));

type Reader = Awaited<ReturnType<typeof connectedReader>>;

describe('what other systems left', () => {
  let server: TestRedis;
  let readers: Reader[];
  let stop: AbortController;
  let running: Promise<void>[];

  beforeEach(async () => {
    server = await startTestRedis();
    [readers, stop, running] = [[], new AbortController(), []];
  });
  afterEach(async () => {
    stop.abort();
    await Promise.all(running);
    await Promise.all(readers.map((reader) => reader.close()));
    await server.stop();
  });

  const reader = async (name = 'reader'): Promise<Reader> => {
    const made = await connectedReader(server.url, 'intake', name);
    readers.push(made);
    return made;
  };
  const start = (loop: (signal: AbortSignal) => Promise<void>): AbortController => {
    const own = new AbortController();
    running.push(loop(AbortSignal.any([own.signal, stop.signal])));
    return own;
  };
  /** Texts accepted for each actor, in order, and where they came from. */
  const accepted = async ({ client, keys }: Reader): Promise<{ readonly [actor: string]: readonly string[] }> => {
    const found: { [actor: string]: string[] } = {};
    for (let partition = 0; partition < PARTITION_COUNT; partition++) {
      for (const [id, fields] of await client.xrange(keys.partition(partition).inbox, '-', '+')) {
        const { key, event } = decodeInboxEntry(id, fields);
        (found[key] ??= []).push((JSON.parse(event) as { text: string }).text);
      }
    }
    return found;
  };
  const total = async (one: Reader): Promise<number> => Object.values(await accepted(one)).flat().length;
  const letters = async ({ client, keys }: Reader): Promise<readonly object[]> =>
    (await client.xrange(keys.partition(0).dead, '-', '+')).map(([, fields]) => JSON.parse(fields[1] as string) as object);

  describe('in a list', () => {
    it('becomes an event for each item, the same text twice as well, in the order of the pops', async () => {
      const one = await reader();
      await one.client.rpush(LIST, 'a 1', 'a 2', 'a 2', 'b 1', 'mine x');
      await one.client.lpush('stack', 'c 1', 'c 2');
      start((signal) => one.read(LIST, signal));
      start((signal) => one.read('stack', signal, 'right'));
      await until('all is accepted', async () => (await total(one)) === 6);
      expect(await accepted(one)).toEqual({ 'ledger/a': ['1', '2', '2'], 'ledger/b': ['1'], 'ledger/c': ['1', '2'] });
      await until('all is settled', async () => (await one.client.exists(`{${LIST}}:processing`, '{stack}:processing', LIST)) === 0);
      expect(one.meter.counters.list_items).toBe(7);
    });

    it('goes to the dead letters when it cannot be read, with its reason, and stops nothing', async () => {
      const one = await reader();
      await one.client.rpush(LIST, 'nothing', 'bomb x', `a ${'x'.repeat(1_100_000)}`, 'a after');
      start((signal) => one.read(LIST, signal));
      await until('all is settled', async () => (await one.client.exists(`{${LIST}}:processing`, LIST)) === 0);
      expect(await accepted(one)).toEqual({ 'ledger/a': ['after'] });
      const found = await letters(one);
      expect(found).toMatchObject([
        { source: `list:${LIST}`, code: 'not_for_us', reason: 'No actor.', field: 'actor', excerpt: 'nothing' },
        { code: 'decode_threw', reason: 'It could not be read: bang', excerpt: 'bomb x' },
        { code: 'invalid_event', field: 'event' },
      ]);
      expect(JSON.stringify(found).length).toBeLessThan(3_000);
    });

    it('waits for the one reader that has the lease, and is read by the next when that one stops', async () => {
      const [one, two] = [await reader('one'), await reader('two')];
      const first = start((signal) => one.read(LIST, signal));
      await until('the first reads', async () => (await one.client.get(`{${LIST}}:reader`)) === 'one');
      start((signal) => two.read(LIST, signal));
      await one.client.rpush(LIST, 'a 1');
      await until('it is accepted', async () => (await total(one)) === 1);
      expect(two.meter.counters.list_items).toBe(0);
      first.abort();
      await one.client.rpush(LIST, 'a 2');
      await until('the second reads', () => two.meter.counters.list_items === 1);
      expect(await accepted(one)).toEqual({ 'ledger/a': ['1', '2'] });
    });

    it('is applied once when a reader dies between its append and its settling', async () => {
      const [one, two] = [await reader('one'), await reader('two')];
      const dead = Promise.withResolvers<never>();
      one.ports.intake.settle = async () => dead.promise;
      await one.client.rpush(LIST, 'a 1', 'a 1');
      void one.read(LIST, stop.signal);
      await until('it is accepted', async () => (await total(one)) === 2);
      await one.client.rpush(LIST, 'a 1');
      start((signal) => two.read(LIST, signal));
      await until('the next has settled all', () => two.meter.counters.list_items === 3);
      expect(await accepted(one)).toEqual({ 'ledger/a': ['1', '1', '1'] });
    });

    it('is applied once and in order by readers that are killed, whenever that is', { timeout: 60_000 }, async () => {
      const one = await reader('last');
      let stranded = 0;
      const items: string[] = [];
      for (let life = 1; life <= 4; life++) {
        const more = Array.from({ length: 1_000 }, (_, index) => `${index % 7} ${items.length + index}`);
        items.push(...more);
        await one.client.rpush(LIST, ...more);
        const child = fork(PROCESS, [server.url, 'intake', LIST, `life-${life}`], { execArgv: [] });
        const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
        // In the middle of a turn, after another number of turns in each life.
        const left = items.length - 100 * life;
        await until('it reads', async () => (await one.client.llen(LIST)) < left);
        for (let looks = 0; looks < 10_000 && (await one.client.exists(`{${LIST}}:processing`)) === 0; looks++);
        child.kill('SIGKILL');
        await gone;
        stranded += await one.client.llen(`{${LIST}}:processing`);
      }
      expect(stranded).toBeGreaterThan(0);
      start((signal) => one.read(LIST, signal));
      await until('the list is empty', async () => (await one.client.exists(LIST, `{${LIST}}:processing`)) === 0);
      const found = await accepted(one);
      for (let actor = 0; actor < 7; actor++) {
        expect(found[`ledger/${actor}`]).toEqual(items.filter((item) => item.startsWith(`${actor} `)).map((item) => item.split(' ')[1]));
      }
    });

    it('tells that it is not read, and is read when it can be', async () => {
      const one = await reader();
      await one.client.set(LIST, 'no list');
      start((signal) => one.read(LIST, signal));
      await until('it is told', () => one.told[0]?.includes(`The list ${LIST} is not being read: Redis could not take: WRONGTYPE`));
      await one.client.del(LIST);
      await one.client.rpush(LIST, 'a 1');
      await until('it is accepted', async () => (await total(one)) === 1);
    });
  });

  describe('on a channel', () => {
    const published = async ({ client }: Reader, channel: string, ...messages: string[]): Promise<void> => {
      for (const message of messages) await client.publish(channel, message);
    };

    it('becomes an event for each message, and is told to whoever logs it', async () => {
      const one = await reader();
      const log: string[] = [];
      start((signal) => one.hear({ channel: 'tasks', onSubscribed: () => void log.push('subscribed'), onMessage: (text) => void log.push(text) }, signal));
      start((signal) => one.hear({ channel: 'node:*' }, signal));
      await until('both listen', async () => Number(await one.client.pubsub('NUMPAT')) === 1 && log[0] === 'subscribed');
      await published(one, 'tasks', 'a 1', 'nothing', 'mine x', 'a 2');
      await published(one, 'node:x', 'b 1');
      await published(one, 'other', 'b 2');
      await until('all is accepted', async () => (await total(one)) === 3 && (await letters(one)).length === 1);
      expect(await accepted(one)).toEqual({ 'ledger/a': ['1', '2'], 'ledger/b': ['1'] });
      expect(log).toEqual(['subscribed', 'a 1', 'nothing', 'mine x', 'a 2']);
      expect(await letters(one)).toMatchObject([{ source: 'channel:tasks', code: 'not_for_us' }]);
    });

    it('has one reader, and the next when that one is killed or stops', async () => {
      const [one, two] = [await reader('one'), await reader('two')];
      start((signal) => one.hear({ channel: 'tasks' }, signal));
      await until('the first listens', async () => (await two.client.pubsub('NUMSUB', 'tasks'))[1] === 1);
      const second = start((signal) => two.hear({ channel: 'tasks' }, signal));
      await published(two, 'tasks', 'a 1');
      await until('it is accepted', async () => (await total(two)) === 1);
      await one.close(); // as a process that is gone: it gives nothing back
      readers.splice(readers.indexOf(one), 1);
      await until('the second listens', async () => (await two.client.pubsub('NUMSUB', 'tasks'))[1] === 1);
      await published(two, 'tasks', 'a 2');
      await until('it is accepted', async () => (await total(two)) === 2);
      expect(await accepted(two)).toEqual({ 'ledger/a': ['1', '2'] });
      second.abort();
      await until('the lease is given back', async () => (await two.client.exists(two.keys.reader('tasks'))) === 0);
    });

    it('is lost, counted and told when too much of it waits', { timeout: 60_000 }, async () => {
      const one = await reader();
      const { append } = one.ports.store;
      one.ports.leaseMs = 60_000; // a busy machine must not end it
      const open = Promise.withResolvers<void>();
      one.ports.store.append = async (envelopes) => {
        await open.promise;
        return append(envelopes);
      };
      start((signal) => one.hear({ channel: 'tasks' }, signal));
      await until('it listens', async () => (await one.client.pubsub('NUMSUB', 'tasks'))[1] === 1);
      const pipeline = one.client.pipeline();
      for (let index = 0; index < CHANNEL_WAITING_MAX + 5; index++) pipeline.publish('tasks', `a ${index}`);
      await pipeline.exec();
      await until('the overflow is counted', () => one.meter.counters.channel_overflows === 5);
      expect(one.told).toEqual([expect.stringContaining('A message of the channel tasks was lost')]);
      open.resolve();
      await until('the rest is accepted', async () => (await total(one)) === CHANNEL_WAITING_MAX);
      const texts = (await accepted(one))['ledger/a'];
      expect(texts).toEqual(Array.from({ length: CHANNEL_WAITING_MAX }, (_, index) => String(index)));
    });
  });
});
