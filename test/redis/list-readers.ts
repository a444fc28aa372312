/** Readers of lists and channels over a real Redis, for the tests and for the processes that they kill. */
import { ChannelReader } from '../../src/engine/channel-reader.ts';
import { readList } from '../../src/engine/list-reader.ts';
import { Meter } from '../../src/engine/meter.ts';
import { Notices } from '../../src/engine/notices.ts';
import { systemClock } from '../../src/engine/system-clock.ts';
import { actorKey } from '../../src/protocol/ids.ts';
import type { ChannelSource, ListSource, ReadMessage } from '../../src/protocol/source.ts';
import { closeClient, connectFirst, createSubscriber, createWriteClient } from '../../src/redis/clients.ts';
import { createIntake } from '../../src/redis/intake.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';

/** Short, so that a successor need not be waited for. */
const LEASE_MS = 300;

/** `<actor> <text>` is an event, `mine …` is ignored, anything else is refused. */
export function decode(item: string): ReadMessage {
  const [actor, text] = item.split(' ');
  if (actor === 'mine') return { ok: 'ignored' };
  if (actor === 'bomb') throw new Error('bang');
  if (actor === undefined || text === undefined) return { ok: false, code: 'not_for_us', reason: 'No actor.', field: 'actor', excerpt: item };
  return { ok: true, actor: actorKey('ledger', actor), event: { type: 'add', text } };
}

export async function connectedReader(url: string, prefix: string, owner: string) {
  const target = parseRedisUrl(url);
  const [client, subscriber] = [createWriteClient(target), createSubscriber(target)];
  await Promise.all([client, subscriber].map((each) => connectFirst(each, target)));
  const keys = createKeys(prefix);
  const [store, intake] = [await createRedisStore(client, keys), await createIntake(client, subscriber, keys)];
  const meter = new Meter();
  const told: string[] = [];
  const notices = new Notices(systemClock, (text) => void told.push(text));
  const ports = { intake, store, clock: systemClock, meter, notices, owner, leaseMs: LEASE_MS, pollMs: 5 };
  return {
    ports,
    client,
    keys,
    told,
    meter,
    read: (list: string, signal: AbortSignal, side: ListSource['side'] = 'left') => readList({ list, side, decode }, ports, signal),
    hear: (source: Omit<ChannelSource, 'decode'>, signal: AbortSignal) => new ChannelReader({ decode, ...source }, ports).run(signal),
    close: async () => void (await Promise.all([client, subscriber].map(closeClient))),
  };
}
