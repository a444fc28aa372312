import { STREAM_START } from '../../src/protocol/ids.ts';
import { MemoryRedis } from '../simulator/memory-store.ts';
import { SUITE_DEDUPE, type StoreHarness } from './store-harness.ts';
import { storeSuite } from './store-suite.ts';

const BEGINNING_MS = 1_700_000_000_000;

storeSuite('memory', async () => {
  let now = BEGINNING_MS;
  const redis = new MemoryRedis({ now: () => now, dedupe: SUITE_DEDUPE });
  const harness: StoreHarness = {
    store: redis.store(),
    doorbell: redis.doorbell(),
    passTime: async (ms) => void (now += ms),
    addToSource: async (stream, fields) => redis.addToSource(stream, fields),
    ringSources: async () => redis.ringSources(),
    stream: async (key) => [...redis.posted(key), ...redis.source(key).after(STREAM_START)],
    refuse: async (key) => void redis.refusing.add(key),
    deadLetters: async (partition) =>
      redis
        .partition(partition)
        .dead.after(STREAM_START)
        .map(([, fields]) => fields[1] as string),
    feed: async (partition, type) =>
      redis
        .partition(partition)
        .feed(type)
        .after(STREAM_START)
        .map(([id, fields]) => [id, fields[5] as string]),
    index: async (partition, type, path) => [...(redis.partition(partition).indexes.get(`${type}:${path}`) ?? [])].sort(([, left], [, right]) => left - right),
    cursor: async () => redis.cursor.after(STREAM_START).map(([, [, partition, , type, , id, , count]]) => `${partition}:${type}:${id}:${count}`),
    hear: async (channel, _messages, action) => {
      const before = redis.published.length + redis.replies.length;
      redis.listened.add(channel);
      await action();
      redis.listened.delete(channel);
      const heard = redis.published.filter(([name]) => name === channel).map(([, message]) => message);
      const told = redis.replies.filter(({ to }) => `reply:${to}` === channel).map(({ entry, outcome }) => JSON.stringify({ entry, outcome }));
      return [...heard, ...told].slice(-(redis.published.length + redis.replies.length - before));
    },
    replyChannel: (to) => `reply:${to}`,
    arrivalsChannel: (type) => `arrivals:${type}`,
  };
  return { harness, close: async () => undefined };
});
