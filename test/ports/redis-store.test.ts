import { setTimeout as sleep } from 'node:timers/promises';
import { closeClient, connectFirst, createSubscriber, createWriteClient } from '../../src/redis/clients.ts';
import { createDoorbell } from '../../src/redis/doorbell.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { takeSeal } from '../../src/redis/seal.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startTestRedis } from '../redis-server.ts';
import { SUITE_DEDUPE, type StoreHarness } from './store-harness.ts';
import { storeSuite } from './store-suite.ts';

storeSuite('Redis', async () => {
  const server = await startTestRedis();
  const target = parseRedisUrl(server.url);
  const [client, subscriber, listener] = [createWriteClient(target), createSubscriber(target), createSubscriber(target)];
  await Promise.all([client, subscriber, listener].map((each) => connectFirst(each, target)));
  const keys = createKeys('suite');
  const store = await createRedisStore(client, keys, { dedupeWindowMs: SUITE_DEDUPE.windowMs, dedupeIdsMax: SUITE_DEDUPE.idsMax });
  const open = await takeSeal(client, keys);
  const harness: StoreHarness = {
    store,
    doorbell: createDoorbell(subscriber, keys, open),
    passTime: async (ms) => {
      const until = (await store.time()) + ms;
      while ((await store.time()) < until) await sleep(1);
    },
    addToSource: async (stream, fields) => (await client.xadd(stream, '*', ...fields)) as string,
    ringSources: async () => void (await client.spublish(keys.sourcesBell, '1')),
    stream: (key) => client.xrange(key, '-', '+'),
    refuse: async (key) => void (await client.set(key, 'no stream')),
    deadLetters: async (partition) => (await client.xrange(keys.partition(partition).dead, '-', '+')).map(([, fields]) => fields[1] as string),
    feed: async (partition, type) => (await client.xrange(keys.partition(partition).feed(type), '-', '+')).map(([id, fields]) => [id, fields[5] as string]),
    index: async (partition, type, path) => {
      const flat = await client.zrange(keys.partition(partition).index(type, path), '0', '-1', 'WITHSCORES');
      return Array.from({ length: flat.length / 2 }, (_, at) => [flat[at * 2] as string, Number(flat[at * 2 + 1])] as const);
    },
    cursor: async () => (await client.xrange(keys.cursor, '-', '+')).map(([, [, partition, , type, , id, , count]]) => `${partition}:${type}:${id}:${count}`),
    hear: async (channel, messages, action) => {
      const heard: string[] = [];
      const complete = Promise.withResolvers<void>();
      const note = (from: string, message: string): void => {
        if (from === channel && heard.push(open(message) ?? message) === messages) complete.resolve();
      };
      listener.on('message', note);
      await listener.subscribe(channel);
      await action();
      await complete.promise;
      listener.off('message', note);
      await listener.unsubscribe(channel);
      return heard;
    },
    replyChannel: (to) => keys.reply(to),
    arrivalsChannel: (type) => keys.arrivals(type),
  };
  return {
    harness,
    close: async () => {
      await Promise.all([client, subscriber, listener].map(closeClient));
      await server.stop();
    },
  };
});
