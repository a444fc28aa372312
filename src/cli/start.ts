/**
 * `castellan start`: everything on one machine.
 *
 * 1. What is started last is stopped first: agent, control plane, Redis. What fails to start leaves nothing running.
 * 2. A setting that cannot work is refused before anything is started.
 * 3. Standard output has what a person needs; the log has warnings alone unless LOG_LEVEL says otherwise.
 */
import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { nodeIdFrom } from '../agent/identity.ts';
import { heartbeatSettingsFrom } from '../fleet/heartbeat-settings.ts';
import { readHttpSettings, readListenAddress } from '../http/settings.ts';
import { startEmbeddedRedis } from '../redis/embedded.ts';
import { parseRedisUrl, redisOptionsFrom, type RedisTarget } from '../redis/target.ts';
import { agentInterval } from './agent-interval.ts';
import { AgentProcess } from './agent-process.ts';
import type { StartControlPlane } from './control-plane.ts';
import { portTrouble, requireFreePort } from './port.ts';
import { createLog, environmentWith, readDataDir, readLogLevel, type Environment } from './settings.ts';
import { untilAskedToStop } from './signals.ts';

/** Where the agent serves its status when it can have it; any free port otherwise. */
const AGENT_STATUS_PORT = 8080;

interface StartFlags {
  readonly port?: string;
  readonly dataDir?: string;
}

export function startCommand(startControlPlane: StartControlPlane): Command {
  return new Command('start')
    .description('run everything on this machine: Redis (unless one is named), control plane, inspector, one agent')
    .option('--port <port>', 'port of the control plane (PORT)')
    .option('--data-dir <folder>', 'folder in which everything is kept (CASTELLAN_DATA_DIR)')
    .action(async (flags: StartFlags) => await start(environmentWith({ PORT: flags.port, CASTELLAN_DATA_DIR: flags.dataDir }), startControlPlane));
}

async function start(environment: Environment, startControlPlane: StartControlPlane): Promise<void> {
  const { host, port } = readListenAddress(environment);
  const named = redisOptionsFrom(environment);
  const dataDir = readDataDir(environment);
  const log = createLog('castellan', readLogLevel(environment, 'warn'));
  requireUsable(environment); // (2)
  await requireFreePort(host, port);
  await mkdir(dataDir, { recursive: true, mode: 0o700 });

  const askedToStop = untilAskedToStop();
  const running: (() => Promise<void>)[] = [];
  try {
    const redis = named === undefined ? await startOwnRedis(dataDir, running) : { target: named, environment };
    const nodeId = nodeIdFrom(undefined, hostname());
    const controlPlane = await startControlPlane({ redis: redis.target, environment, dataDir, host, port, localNodeId: nodeId, log });
    running.push(() => controlPlane.stop());

    const statusPort = (await portTrouble('127.0.0.1', AGENT_STATUS_PORT)) === undefined ? AGENT_STATUS_PORT : 0;
    const agent = new AgentProcess({
      nodeId,
      statusPort,
      environment: {
        ...environment,
        ...redis.environment,
        LOG_LEVEL: log.level,
        // Its own folder: a node that was enrolled elsewhere as the same user is another node.
        CASTELLAN_AGENT_DIR: environment['CASTELLAN_AGENT_DIR'] || join(dataDir, 'agent'),
      },
      cacheDir: join(dataDir, 'compile-cache'),
      log,
    });
    agent.start();
    running.push(() => agent.stop());

    console.log(banner({ inspector: controlPlane.inspectorLink, redis: urlOf(redis.target), nodeId, dataDir }));
    await askedToStop;
    console.log('\nStopping …');
  } finally {
    for (const stop of running.toReversed()) await stop(); // (1)
  }
  console.log('Stopped. "npm start" goes on from here.');
}

/** Upholds (2). The agent has a process of its own, which would die again and again of what can be said now. */
function requireUsable(environment: Environment): void {
  heartbeatSettingsFrom(environment);
  agentInterval(environment);
  readHttpSettings(environment);
}

async function startOwnRedis(dataDir: string, running: (() => Promise<void>)[]): Promise<{ readonly target: RedisTarget; readonly environment: Environment }> {
  const embedded = await startEmbeddedRedis({ dataDir, log: { info: console.log, warn: console.log } });
  running.push(() => embedded.stop());
  return { target: parseRedisUrl(embedded.url), environment: { REDIS_URL: embedded.url } };
}

/** For `redis-cli -u`; without user and password, which would stay on the screen and in the journal of a service. */
function urlOf({ host, port, db, tls }: RedisTarget): string {
  return `${tls ? 'rediss' : 'redis'}://${host.includes(':') ? `[${host}]` : host}:${port}/${db}`;
}

function banner({ inspector, redis, nodeId, dataDir }: { readonly [name in 'inspector' | 'redis' | 'nodeId' | 'dataDir']: string }): string {
  return [
    '',
    'Castellan is running.',
    '',
    `  Inspector   ${inspector}`,
    `  Redis       ${redis}`,
    `  This node   ${nodeId}`,
    `  Data        ${dataDir}`,
    '',
    '  The link works once. Ctrl-C stops everything; the next start goes on where this one stopped.',
    '',
  ].join('\n');
}
