/**
 * `castellan work`: the node agent of this machine, which reports its status and takes jobs.
 *
 * 1. Settings, the first that is given wins: flag, environment variable, what enrolment left, default.
 * 2. Asked to stop it takes no more jobs, lets the running ones end up to `--grace`, gives the others back, and ends with 0. It reports its
 *    status until then.
 * 3. A device code that was redeemed is not sent again, by this process nor by the next.
 */
import { Command, InvalidArgumentError } from 'commander';
import { agentFolder, forgetDeviceCode, readCredentials } from '../agent/credentials.ts';
import { createAgent } from '../agent/create-agent.ts';
import { DEFAULT_QUEUE, QUEUE_NAME } from '../protocol/job-progress.ts';
import { createLog, readLogLevel, type Environment } from './settings.ts';
import { untilAskedToStop } from './signals.ts';
import { jobSettings, workSettings, type WorkFlags, type WorkSettings } from './work-settings.ts';
import type { Agent } from '../agent/agent.ts';
import type { NodeLink } from './node-link.ts';
import type { Logger } from 'pino';

const DEFAULT_STATUS_PORT = 8080;
/** Most jobs of an agent wait for a service of its node. */
const DEFAULT_CONCURRENCY = 8;
const CONCURRENCY_MAX = 1_000;
/** Below the 30 s that orchestrators give a process. */
const DEFAULT_GRACE_S = 20;
const TAG = /^[A-Za-z0-9._:-]{1,64}$/;

export function workCommand(): Command {
  return new Command('work')
    .description('run the agent of this node: report its status, serve it on a port, take jobs')
    .option('--mode <mode>', 'how to reach the control plane: redis, or api with the token of castellan init', 'redis')
    .option('--redis-url <url>', 'Redis of the control plane (REDIS_URL)')
    .option('--api-url <url>', 'control plane for --mode=api (CASTELLAN_URL, default: the one that this node is enrolled at)')
    .option(
      '--queue <stream>',
      `queue to take jobs from; repeatable, or a list with commas (default: ${DEFAULT_QUEUE}, over HTTP what the control plane names)`,
      collectQueues,
    )
    .option('--tag <tag>', 'tag of this node, reported with its status; takes jobs from jobs:v1:tag:<tag> too; repeatable', collectTags)
    .option('--concurrency <n>', 'jobs at once; 0 takes none', parseConcurrency, DEFAULT_CONCURRENCY)
    .option('--grace <seconds>', 'how long running jobs are waited for when it stops', parseSeconds, DEFAULT_GRACE_S)
    .option('--redis-status [on]', 'publish the status: true or false', parseSwitch, true)
    .option('--node-id <id>', 'id of this node (default: as enrolled, else its hostname)')
    .option('--status-port <port>', 'port of /status, /health and /metrics on loopback and the mesh address; 0 for any', parsePort, DEFAULT_STATUS_PORT)
    .action(async (flags: WorkFlags) => runWork(flags, process.env));
}

async function runWork(flags: WorkFlags, env: Environment): Promise<void> {
  const log = createLog('agent', readLogLevel(env, 'info'));
  const folder = agentFolder(env);
  const warn = (message: string): void => log.warn(message);
  const settings = workSettings(flags, env, await readCredentials(folder, warn));
  const jobs = jobSettings(flags, settings.way);
  const askedToStop = untilAskedToStop();
  const link = await openLink(settings, { folder, log });
  const agent = await startAgent(settings, link, log);
  const { deviceCode } = settings;
  if (deviceCode !== undefined) {
    link?.onRedeemed(() => {
      agent.setDeviceCode(undefined); // (3)
      log.info('The device code was redeemed; it is not sent any more');
      forgetDeviceCode(folder, deviceCode, warn).catch((error: Error) => warn(`The device code could not be removed from the credentials: ${error.message}`));
    });
  }
  const stopping = new AbortController();
  const taking =
    jobs === undefined || link === undefined
      ? log.info('No jobs are taken')
      : import('./work-jobs.ts').then(
          async ({ startJobs }) => await startJobs({ ...settings, ...jobs, link, statusPort: () => agent.statusPort, signal: stopping.signal, log }),
        );
  await askedToStop;
  stopping.abort();
  const worker = await taking;
  await worker?.stop(); // (2)
  await agent.stop();
  await link?.close();
}

async function openLink({ way, ...settings }: WorkSettings, { folder, log }: { readonly folder: string; readonly log: Logger }): Promise<NodeLink | undefined> {
  switch (way.kind) {
    case 'redis':
      return (await import('./redis-link.ts')).redisLink({ ...settings, redis: way.redis, log });
    case 'api':
      return (await import('./api-link.ts')).apiLink({ ...settings, ...way, folder, log });
    case 'none':
      return undefined;
  }
}

/** Throws InvalidSettingError; the link is closed then. */
async function startAgent({ reportsStatus, ...settings }: WorkSettings, link: NodeLink | undefined, log: Logger): Promise<Agent> {
  try {
    const agent = createAgent({ ...settings, ...(reportsStatus && link !== undefined ? { publisher: link.publisher() } : {}), log });
    await agent.start();
    return agent;
  } catch (error) {
    await link?.close();
    throw error;
  }
}

function collectQueues(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, ...listed(text, QUEUE_NAME)];
}

function collectTags(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, ...listed(text, TAG)];
}

function listed(text: string, pattern: RegExp): readonly string[] {
  const names = text.split(',').map((name) => name.trim());
  for (const name of names) if (!pattern.test(name)) throw new InvalidArgumentError(`${JSON.stringify(name)} must match ${pattern.source}.`);
  return names;
}

function parseConcurrency(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) > CONCURRENCY_MAX) throw new InvalidArgumentError(`It must be a whole number from 0 to ${CONCURRENCY_MAX}.`);
  return Number(text);
}

function parseSeconds(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidArgumentError('It must be a whole number of seconds.');
  return Number(text);
}

function parseSwitch(text: string): boolean {
  if (/^(true|1|on|yes)$/i.test(text)) return true;
  if (/^(false|0|off|no)$/i.test(text)) return false;
  throw new InvalidArgumentError('It must be true or false.');
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535) throw new InvalidArgumentError('It must be a whole number from 0 to 65535.');
  return port;
}
