/** The example of docs/contracts.md: every way in and out against a real Redis, and the page shows what the file says. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { registerActorType } from '../../src/core/kernel.ts';
import { actorKey } from '../../src/protocol/ids.ts';
import type { Json } from '../../src/protocol/json.ts';
import { decodeRecord } from '../../src/protocol/stored-record.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { startEngineWorld, until, type EngineWorld } from './engine-world.ts';
import { announceParcels, liveSource, ordersOutlet, parcelType, returnsSource, scansSource } from './example/carrier.ts';

let server: TestRedis;
let carrier: Redis;

beforeAll(async () => {
  server = await startTestRedis();
  carrier = new Redis(server.url);
});
afterAll(async () => {
  carrier.disconnect();
  await server.stop();
});

async function world(): Promise<EngineWorld & { reaches(parcel: string, value: Json, place?: string): Promise<void> }> {
  const started = await startEngineWorld(server, {
    types: [{ registered: registerActorType(parcelType), executors: {}, announce: announceParcels }],
    sources: [scansSource],
    lists: [returnsSource],
    channels: [liveSource],
    outlets: [ordersOutlet],
  });
  await until('the channel is read', async () => Number((await carrier.pubsub('NUMSUB', liveSource.channel))[1]) > 0);
  const reaches = async (parcel: string, value: Json, place?: string): Promise<void> => {
    await until(`${parcel} is ${JSON.stringify(value)}`, async () => {
      const stored = await started.redis.reader.getActor(actorKey('parcel', parcel));
      const { snapshot } = stored === undefined ? { snapshot: {} } : decodeRecord(stored.record);
      const found = snapshot as { value?: Json; context?: { place: string } };
      return found.value === value && (place === undefined || found.context?.place === place);
    });
  };
  return { ...started, reaches };
}

describe('the contract with a carrier', () => {
  it('follows parcels by stream, list and channel, orders what comes back, and tells who listens', async () => {
    const listener = new Redis(server.url);
    const told: string[] = [];
    listener.on('message', (_channel, message: string) => void told.push(message));
    await listener.subscribe(announceParcels.channel);
    const { reaches } = await world();

    await carrier.xadd('carrier:scans', '*', 'parcel', 'P001', 'place', 'Wien');
    await reaches('P001', 'underWay', 'Wien');
    await carrier.publish('carrier:live', '{"parcel":"P001","status":"delivered"}');
    await reaches('P001', 'delivered');
    await carrier.rpush('carrier:returns', '{"parcel":"P001"}');
    await reaches('P001', 'comingBack', 'Wien');

    const orders = await until('the order', async () => {
      const entries = await carrier.xrange('carrier:orders', '-', '+');
      return entries.length > 0 && entries;
    });
    expect(orders.map(([, fields]) => fields)).toEqual([['parcel', 'P001', 'place', 'Wien', 'asked_by', 'parcel/P001']]);
    await until('everything is told', () => told.length === 3);
    expect(told.map((message) => (JSON.parse(message) as { state: string }).state)).toEqual(['underWay', 'delivered', 'comingBack']);
    await until('the list is empty', async () => (await carrier.exists('carrier:returns', '{carrier:returns}:processing')) === 0);
    listener.disconnect();
  });

  it('refuses what is none, naming the field, and ignores what is ours', async () => {
    const { deadLetters, reaches } = await world();
    await carrier.xadd('carrier:scans', '*', 'place', 'Wien');
    await carrier.rpush('carrier:returns', 'nothing');
    await carrier.publish('carrier:live', '{"parcel":"P002","status":"lost"}');
    await carrier.publish('carrier:live', '{"parcel":"P003","status":"delivered","source":"castellan"}');
    await carrier.publish('carrier:live', '{"parcel":"P004","status":"delivered"}');
    await reaches('P004', 'delivered');
    const fields = await until('three dead letters', async () => {
      const letters = await deadLetters();
      return letters.length === 3 && letters.map(({ source, field }) => `${source} ${field}`).toSorted();
    });
    expect(fields).toEqual(['channel:carrier:live status', 'list:carrier:returns message', 'stream:carrier:scans parcel']);
  });

  it('loses nothing of stream and list while nobody runs', async () => {
    const { stop } = await world();
    await stop();
    await carrier.xadd('carrier:scans', '*', 'parcel', 'P005', 'place', 'Graz');
    await carrier.rpush('carrier:returns', '{"parcel":"P005"}');
    const { reaches } = await world();
    await reaches('P005', 'comingBack');
  });
});

it('docs/contracts.md shows the example as it runs', async () => {
  const page = await readFile(join(import.meta.dirname, '../../docs/contracts.md'), 'utf8');
  const files = [await readFile(join(import.meta.dirname, 'example/carrier.ts'), 'utf8'), await readFile(import.meta.filename, 'utf8')];
  const blocks = [...page.matchAll(/```ts\n([^]*?)```/g)].map((match) => match[1] as string);
  expect(blocks.length).toBeGreaterThan(6);
  for (const block of blocks) expect(files.some((file) => file.includes(block.trimEnd()))).toBe(true);
});
