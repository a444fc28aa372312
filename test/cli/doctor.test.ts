import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderDiagnoses, type Diagnosis } from '../../src/cli/doctor.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { castellan } from './program.ts';

async function diagnosesOf(environment: { readonly [name: string]: string }, folder: string): Promise<{ code: number; find: (check: string) => Diagnosis }> {
  const { code, stdout } = await castellan(['doctor', '--json'], environment, folder);
  const all = JSON.parse(stdout) as Diagnosis[];
  return { code, find: (check) => all.find((each) => each.check === check)! };
}

describe('castellan doctor', () => {
  let folder: string;
  let redis: TestRedis;
  let occupant: Server;
  let taken: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'castellan-doctor-'));
    redis = await startTestRedis();
    occupant = createServer();
    await new Promise<void>((resolve) => occupant.listen(0, '127.0.0.1', resolve));
    taken = String((occupant.address() as AddressInfo).port);
  });
  afterAll(async () => {
    occupant.close();
    await redis.stop();
    await rm(folder, { recursive: true });
  });

  it('finds nothing missing with a good Redis and a free port', async () => {
    const { code, find } = await diagnosesOf({ REDIS_URL: redis.url, PORT: '0' }, folder);
    expect(find('Node').status).toBe('ok');
    expect(find('Redis')).toMatchObject({ detail: expect.stringMatching(/(Redis|Valkey) \d+\./) });
    expect(find('Redis').status).not.toBe('missing');
    expect(find('Clock').detail).toMatch(/(behind|ahead of) Redis/);
    expect(find('Data folder').detail).toBe(`${join(folder, '.castellan')}, to be made`);
    expect(code).toBe(0);
  });

  it('reads .env like every command', async () => {
    await writeFile(join(folder, '.env'), `PORT=${taken}\n`);
    const { find } = await diagnosesOf({ REDIS_URL: redis.url }, folder);
    await rm(join(folder, '.env'));
    expect(find('Port')).toMatchObject({ status: 'missing', fix: `PORT=${Number(taken) + 1} npm start` });
  });

  it('names a setting that a start would refuse', async () => {
    const { code, find } = await diagnosesOf({ REDIS_URL: redis.url, PORT: '0', HEARTBEAT_INTERVAL_MS: 'often' }, folder);
    expect(code).toBe(1);
    expect(find('Settings')).toMatchObject({ status: 'missing', detail: expect.stringContaining('HEARTBEAT_INTERVAL_MS is "often"') });
  });

  it('ends with 1 when Redis cannot be reached, and never shows the password', async () => {
    const { code, find } = await diagnosesOf({ REDIS_URL: 'redis://user:s3cret@127.0.0.1:1/0', PORT: '0' }, folder);
    expect(code).toBe(1);
    expect(find('Redis')).toMatchObject({ status: 'missing', detail: expect.stringContaining('127.0.0.1:1/0') });
    expect(JSON.stringify(find('Redis'))).not.toContain('s3cret');
  });

  it('says how to make an evicting Redis usable', async () => {
    const evicting = await startTestRedis(['--maxmemory-policy', 'allkeys-lru']);
    const { code, find } = await diagnosesOf({ REDIS_URL: evicting.url, PORT: '0' }, folder);
    await evicting.stop();
    expect(code).toBe(1);
    expect(find('Redis')).toMatchObject({ status: 'missing', fix: 'redis-cli CONFIG SET maxmemory-policy noeviction' });
  });

  it('names what stands in the way of the data folder', async () => {
    const file = join(folder, 'a-file');
    await writeFile(file, '');
    const { code, find } = await diagnosesOf({ REDIS_URL: redis.url, PORT: '0', CASTELLAN_DATA_DIR: join(file, 'data') }, folder);
    expect(code).toBe(1);
    expect(find('Data folder')).toMatchObject({ status: 'missing', detail: `${file} may not be written` });
  });

  it('is a table for a person', () => {
    const text = renderDiagnoses([
      { check: 'Node', status: 'ok', detail: 'v24.0.0' },
      { check: 'Redis', status: 'missing', detail: 'none', fix: 'apt-get install -y redis-server' },
    ]);
    expect(text.split('\n')).toEqual([
      'ok       Node   v24.0.0',
      'missing  Redis  none',
      '                → apt-get install -y redis-server',
      '',
      'Castellan cannot start here yet: 1 missing.',
    ]);
  });
});
