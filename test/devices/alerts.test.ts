/** From a node's reading over its device to one incident with a beginning and an end, over a real Redis. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { startDeviceWorld, until } from './device-world.ts';

let server: TestRedis;
beforeAll(async () => {
  server = await startTestRedis();
});
afterAll(() => server.stop());

describe('a hot GPU', () => {
  it('is one incident, by the threshold of the configuration', async () => {
    const here = await startDeviceWorld(server, { settings: { intervalMs: 0 }, machine: { holdMs: 0 } });
    const heard: { phase: string; incident: string; reason: string }[] = [];
    const ear = here.raw.duplicate();
    await ear.subscribe('fleet:alert:acme');
    ear.on('message', (_channel, text) => heard.push(JSON.parse(text) as (typeof heard)[number]));
    const beat = (celsius: number, code?: string) => {
      const status = { node: { name: 'gpu-1' }, system: {}, gpu: [{ index: 0, name: 'H200', temperature_celsius: celsius }], services: [] };
      const fields = ['nodeId', 'gpu-1', 'payload', JSON.stringify({ nodeId: 'gpu-1', status }), ...(code === undefined ? [] : ['deviceCode', code])];
      return here.raw.xadd('node:status:stream', '*', ...fields);
    };

    const { deviceCode, userCode } = await here.devices.start({ clientId: 'castellan', hostname: 'gpu-1', address: '10.0.0.7' });
    await here.devices.approve(userCode, { subject: 'ada', orgId: 'acme' }, {});
    const deviceId = here.devices.idOf(deviceCode);
    await beat(72, deviceCode);
    await until(
      async () => ((await here.devices.get(deviceId))?.reason === 'no configuration was saved' ? true : undefined),
      () => 'the node to be seen',
    );
    await here.devices.configure(deviceId, { alertOnHighTemp: 70 }, 'ada');
    const threshold = async () => ((await here.client.get('node', 'gpu-1'))?.context as { gpuHigh?: number } | undefined)?.gpuHigh;
    await until(
      async () => ((await threshold()) === 70 ? true : undefined),
      () => 'the node to know its threshold',
    );
    expect(heard).toEqual([]);

    await beat(73);
    await beat(74);
    await until(
      async () => (heard.length > 0 ? true : undefined),
      () => 'the alert',
    );
    await beat(64);
    await until(
      async () => (heard.length > 1 ? true : undefined),
      () => 'its end',
    );
    await beat(71);
    await until(
      async () => (heard.length > 2 ? true : undefined),
      () => 'the next one',
    );
    expect(heard).toMatchObject([
      { incident: 'gpu-1.high-temperature-1', phase: 'firing', reason: 'a GPU is at 73 °C', orgId: 'acme' },
      { incident: 'gpu-1.high-temperature-1', phase: 'resolved', reason: 'the hottest GPU is at 64 °C' },
      { incident: 'gpu-1.high-temperature-2', phase: 'firing', reason: 'a GPU is at 71 °C' },
    ]);
    expect((await here.redis.reader.listDeadLetters(undefined, 10)).items).toEqual([]);
    ear.disconnect();
  });
});
