/**
 * The engine as a process of its own, driven over IPC by a benchmark: the composition of `castellan serve` without HTTP.
 *
 * Started with one argument, JSON of {@link EngineProcessOptions}; answers every message `report` with a {@link ProcessReport}.
 */
import { z } from 'zod';
import { setup } from 'xstate';
import { fleetType } from '../machines/fleet/definition.ts';
import { nodeType } from '../machines/node/definition.ts';
import { DEFAULT_HEARTBEAT } from '../machines/node/settings.ts';
import { nodeStatusPublication, nodeStatusSource } from '../src/contracts/citadel.ts';
import { registerActorType } from '../src/core/kernel.ts';
import type { HostedType } from '../src/engine/actor-types.ts';
import { Engine, type EngineOptions } from '../src/engine/engine.ts';
import { hostJobs } from '../src/library/job-host.ts';
import { systemClock } from '../src/engine/system-clock.ts';
import { connectRedis } from '../src/redis/connect.ts';
import { parseRedisUrl } from '../src/redis/target.ts';
import type { ProcessReport } from './process-report.ts';

export interface EngineProcessOptions {
  readonly url: string;
  /** The fleet reads the status stream; the job has three events: submit, claim, finish; jobs are those of the product, in full. */
  readonly machine: 'fleet' | 'job' | 'jobs';
  readonly intervalMs?: number;
}

const options = JSON.parse(process.argv[2] ?? '{}') as EngineProcessOptions;
const redis = await connectRedis(parseRedisUrl(options.url));
const engine = new Engine({
  store: redis.engineStore,
  doorbell: redis.doorbell,
  clock: systemClock,
  ...hosted(),
  owner: `bench-${process.pid}`,
  settings: options.intervalMs === undefined ? {} : { observationGapMs: options.intervalMs / 4 },
});
await engine.start();
// A benchmark that fails leaves nobody behind.
process.once('disconnect', () => process.exit());
process.on('message', (message) => {
  if (message === 'report') process.send?.(report());
  if (message === 'stop') void stop();
});
process.send?.(report());

function hosted(): Pick<EngineOptions, 'types' | 'sources' | 'outlets'> {
  switch (options.machine) {
    case 'fleet':
      return { types: fleetTypes(), sources: [nodeStatusSource] };
    case 'job':
      return { types: [{ registered: registerActorType(jobType()), executors: {} }] };
    case 'jobs':
      return hostJobs({ redis, clock: systemClock, place: async () => ({ reason: 'no fleet' }), warn: console.error }).engine;
  }
}

function report(): ProcessReport {
  const { user, system } = process.cpuUsage();
  const { counters, histograms } = engine.meter;
  const lateness = histograms.timer_lateness_seconds;
  return {
    done: counters.events,
    cpuMs: (user + system) / 1_000,
    rssBytes: process.memoryUsage.rss(),
    counters,
    meanStepMicroseconds: (histograms.step_seconds.sum / Math.max(1, histograms.step_seconds.total)) * 1e6,
    meanBatch: histograms.batch_size.sum / Math.max(1, histograms.batch_size.total),
    meanTimerLatenessMs: (lateness.sum / Math.max(1, lateness.total)) * 1e3,
  };
}

async function stop(): Promise<void> {
  await engine.stop();
  await redis.close();
  process.disconnect();
}

function fleetTypes(): readonly HostedType[] {
  const heartbeat = { ...DEFAULT_HEARTBEAT, ...(options.intervalMs === undefined ? {} : { intervalMs: options.intervalMs }) };
  const none = async (): Promise<void> => {};
  return [
    {
      registered: registerActorType(nodeType(heartbeat)),
      executors: { publishNodeState: none },
      publishDocument: (key, document) => nodeStatusPublication(key, document, 'default'),
    },
    { registered: registerActorType(fleetType(heartbeat)), executors: { publishFleetIncident: none } },
  ];
}

function jobType() {
  const event = <Name extends string>(name: Name) => z.object({ type: z.literal(name) });
  const machine = setup({
    types: { context: {} as { readonly attempts: number }, events: {} as { type: 'submit' } | { type: 'claim' } | { type: 'finish' } },
  }).createMachine({
    context: { attempts: 0 },
    initial: 'new',
    states: { new: { on: { submit: 'queued' } }, queued: { on: { claim: 'processing' } }, processing: { on: { finish: 'done' } }, done: {} },
  });
  return { type: 'job', version: '1', machine, events: { submit: event('submit'), claim: event('claim'), finish: event('finish') } };
}
