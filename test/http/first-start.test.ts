import { chmod, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { authFiles, createFirstStartToken, readAdminToken, readSecret } from '../../src/http/auth/first-start.ts';
import { tokenVerifier } from '../../src/http/auth/tokens.ts';

async function dataFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'castellan-first-start-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
const modeOf = async (path: string) => (await stat(path)).mode & 0o777;
const DAY_MS = 86_400_000;

describe('the first start on a data folder', () => {
  it('makes a secret and a token that only its owner can read', async () => {
    const dataDir = await dataFolder();
    const { created, secret, token } = await createFirstStartToken(dataDir);
    const files = authFiles(dataDir);
    expect(created).toBe(true);
    expect(await Promise.all([modeOf(files.folder), modeOf(files.secret), modeOf(files.token)])).toEqual([0o700, 0o600, 0o600]);
    const verification = await tokenVerifier({ kind: 'secret', secret, strict: true }, 'bearer', Date.now)(token);
    expect(verification).toMatchObject({ kind: 'valid', principal: { subject: 'admin', role: 'admin', org: null } });
    expect(await readdir(files.folder)).toEqual(['admin-token', 'secret']);
  });

  it('is the only one that makes them', async () => {
    const dataDir = await dataFolder();
    const first = await createFirstStartToken(dataDir);
    const second = await createFirstStartToken(dataDir);
    expect(second).toEqual({ ...first, created: false });
    expect(await readSecret(dataDir)).toEqual(first.secret);
    expect(await readAdminToken(dataDir)).toBe(first.token);
  });

  it('by several processes at once ends with one secret', async () => {
    const dataDir = await dataFolder();
    const starts = await Promise.all(Array.from({ length: 8 }, () => createFirstStartToken(dataDir)));
    expect(new Set(starts.map((start) => Buffer.from(start.secret).toString('hex'))).size).toBe(1);
    expect(starts.filter((start) => start.created)).toHaveLength(1);
  });
});

describe('a later start', () => {
  it('tightens permissions that were loosened', async () => {
    const dataDir = await dataFolder();
    await createFirstStartToken(dataDir);
    await chmod(authFiles(dataDir).secret, 0o644);
    await createFirstStartToken(dataDir);
    expect(await modeOf(authFiles(dataDir).secret)).toBe(0o600);
  });

  it('renews the token shortly before it expires, under the same secret', async () => {
    const dataDir = await dataFolder();
    let time = Date.now();
    const first = await createFirstStartToken(dataDir, () => time);
    time += 300 * DAY_MS;
    expect((await createFirstStartToken(dataDir, () => time)).token).toBe(first.token);
    time += 50 * DAY_MS;
    const renewed = await createFirstStartToken(dataDir, () => time);
    expect(renewed.token).not.toBe(first.token);
    expect(renewed.secret).toEqual(first.secret);
    expect((await readFile(authFiles(dataDir).token, 'utf8')).trim()).toBe(renewed.token);
  });

  it('without a first one finds nothing', async () => {
    const dataDir = await dataFolder();
    expect([await readSecret(dataDir), await readAdminToken(dataDir)]).toEqual([undefined, undefined]);
  });
});
