/** Which revision a node speaks of: of what it refuses, after it was enrolled anew, and while a newer one was taken back. No engine is needed. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Applier } from '../../../src/agent/apply/applier.ts';
import { reportOf } from '../../../src/agent/apply/apply-report.ts';
import type { Containers, FoundContainer } from '../../../src/agent/apply/containers.ts';
import { EMPTY_STATE, type AppliedService, type NodeState } from '../../../src/agent/apply/node-state.ts';
import { Reconciler } from '../../../src/agent/apply/reconcile.ts';
import { systemClock } from '../../../src/agent/clock.ts';
import { publicKeyText, signConfig } from '../../../src/provisioning/config-signature.ts';
import { catalogueOf } from '../../../src/provisioning/node-catalogue.ts';
import { BUILTIN_SERVICES } from '../../../src/provisioning/services.ts';
import { until } from '../until.ts';
import type { ConfigReport, DeviceConfig } from '../../../src/protocol/device-config.ts';
import type { Json } from '../../../src/protocol/json.ts';

const { privateKey } = generateKeyPairSync('ed25519');
const HOUR_MS = 3_600_000;
const log = pino({ level: 'silent' });

let folder: string;
let deviceId: string;
let applier: Applier;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'castellan-revisions-'));
  deviceId = 'device-1';
  applier = await startApplier();
});
afterEach(async () => {
  await applier.stop();
  await rm(folder, { recursive: true, force: true });
});

async function startApplier(): Promise<Applier> {
  const started = new Applier({
    nodeId: 'node-1',
    folder,
    containers: {} as Containers,
    catalogue: catalogueOf(BUILTIN_SERVICES, { deny: ['redis'] }),
    enrolled: () => ({ configKey: publicKeyText(privateKey) as string, deviceId }),
    allowManual: false,
    hasGpu: async () => false,
    ssh: { enabled: async () => false, set: async () => undefined },
    onReport: () => undefined,
    clock: systemClock(),
    log,
  });
  await started.start();
  return started;
}

async function send(revision: number, config: DeviceConfig, lastsMs = HOUR_MS): Promise<ConfigReport> {
  const at = (ms: number): string => new Date(Date.now() + ms).toISOString();
  const unsigned = { config, nodeId: 'node-1', deviceId, revision, issuedAt: at(0), expiresAt: at(lastsMs) };
  const payload = signConfig(unsigned, privateKey) as unknown as Json;
  return await applier.apply({ key: `${deviceId}:${revision}:${lastsMs}`, jobId: null, payload });
}

test("a revision that the node's own veto refuses is named, and nothing older is taken after it", async () => {
  await send(5, { deviceName: 'five' });
  const refused = await send(7, { services: [{ name: 'redis' }] });
  expect(refused).toMatchObject({ phase: 'rejected', desiredRevision: 7, appliedRevision: 5, error: { field: 'services[0].name' } });
  expect(await send(6, { deviceName: 'six' })).toMatchObject({ phase: 'rejected', desiredRevision: null, error: { code: 'stale_revision' } });
});

test('one that has expired is named when it is newer, and may come again', async () => {
  await send(5, { deviceName: 'five' });
  expect(await send(6, {}, -1)).toMatchObject({ phase: 'rejected', desiredRevision: 6, error: { code: 'expired' } });
  expect(await send(5, {}, -1)).toMatchObject({ phase: 'rejected', desiredRevision: null, error: { code: 'expired' } });
  expect(await send(6, { deviceName: 'six' })).toMatchObject({ phase: 'applied', appliedRevision: 6 });
});

test('a node that was enrolled anew begins its revisions anew, and keeps what it was configured to be', async () => {
  await send(5, { deviceName: 'five' });
  deviceId = 'device-2';
  expect(await send(1, { customTags: ['lab'] })).toMatchObject({ phase: 'applied', desiredRevision: 1, appliedRevision: 1 });
  await applier.stop();
  applier = await startApplier();
  expect(applier.state).toMatchObject({ device: 'device-2', highestRevision: 1, settings: { deviceName: 'five', customTags: ['lab'] } });
});

const alpha = { choice: { name: 'alpha' }, spec: {}, specHash: 'h' } as unknown as AppliedService;

test('what a taken back revision had stopped runs again, and is told so', () => {
  const plan = {
    services: [
      { name: 'alpha', phase: 'waiting' },
      { name: 'beta', phase: 'waiting' },
      { name: 'gamma', phase: 'waiting' },
    ],
  };
  const failure = { code: 'service_unhealthy', service: 'beta', message: 'no' };
  const context = { request: { key: 'k', jobId: null, apply: 'a', payload: {} }, index: 0, plan, failure } as never;
  const { services } = reportOf({ value: 'rolledBack', context, state: { ...EMPTY_STATE, services: [alpha] }, seen: new Map(), at: new Date(0) });
  expect(services.map(({ name, phase }) => [name, phase])).toEqual([
    ['alpha', 'unchanged'],
    ['beta', 'failed'],
    ['gamma', 'stopped'],
  ]);
});

test('a drift after a revision was taken back is told under its number; then what became of it again', async () => {
  const error = { code: 'service_unhealthy', message: 'no' };
  const services = [{ name: 'alpha', phase: 'unchanged' as const }];
  const report: ConfigReport = { phase: 'rolled-back', jobId: 'cfg-1', desiredRevision: 6, appliedRevision: 5, services, error, timestamp: '' };
  const state: NodeState = { ...EMPTY_STATE, revision: 5, highestRevision: 6, services: [alpha], finished: [{ key: 'k', report }] };
  const container: FoundContainer = { name: 'citadel-alpha', service: 'alpha', specHash: 'h', running: true } as FoundContainer;
  let restarting = true;
  const reports: ConfigReport[] = [];
  const reconciler = new Reconciler({
    applier: { state, exclusively: async (work) => await work(), tools: () => ({}) as never },
    containers: { list: async () => [{ ...container, restarting }] } as unknown as Containers,
    onReport: (told) => void reports.push(told),
    everyMs: 5,
    clock: systemClock(),
    log,
  });
  reconciler.start();
  await until('the drift is told', async () => reports.length > 0);
  restarting = false;
  await until('its end is told', async () => reports.length > 1);
  await reconciler.stop();
  expect(reports).toMatchObject([
    { phase: 'drifted', desiredRevision: 6, appliedRevision: 5, services: [{ name: 'alpha', phase: 'failed' }] },
    { phase: 'rolled-back', desiredRevision: 6, appliedRevision: 5, error },
  ]);
  expect(reports[1]).not.toHaveProperty('jobId');
});
