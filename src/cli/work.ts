/**
 * `castellan work`: the node agent of this machine, which reports its status and takes jobs.
 *
 * 1. Settings, the first that is given wins: flag, environment variable, what enrolment left, default.
 * 2. Asked to stop it takes no more jobs, lets the running ones end up to `--grace`, gives the others back, and ends with 0. It reports its
 *    status until then.
 * 3. A device code that was redeemed is not sent again, by this process nor by the next.
 */
import { Command, InvalidArgumentError } from 'commander';
import { systemClock } from '../agent/clock.ts';
import { agentFolder, readCredentials } from '../agent/credentials.ts';
import { createAgent } from '../agent/create-agent.ts';
import { EnrolledNode } from '../agent/enrolled-node.ts';
import { Provisioning } from '../agent/provisioning.ts';
import { CATALOGUE_SETTING, loadCatalogue } from '../provisioning/node-catalogue.ts';
import { DEFAULT_QUEUE, QUEUE_NAME } from '../protocol/job-progress.ts';
import { createLog, readLogLevel, type Environment } from './settings.ts';
import { untilAskedToStop } from './signals.ts';
import { jobSettings, workSettings, type JobSettings, type WorkFlags, type WorkSettings } from './work-settings.ts';
import type { Agent } from '../agent/agent.ts';
import type { Worker } from '../worker/worker.ts';
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
  const warn = (message: string): void => log.warn(message);
  const folder = agentFolder(env);
  const credentials = await readCredentials(folder, warn);
  const settings = workSettings(flags, env, credentials);
  const { nodeId, deviceCode, dockerHost } = settings;
  const jobs = jobSettings(flags, settings.way);
  const node = new EnrolledNode({ folder, nodeId, credentials, warn, ...(deviceCode === undefined ? {} : { deviceCode }) });
  const link = await openLink(settings, node, log);
  const askedToStop = untilAskedToStop();
  const provisioning = link === undefined ? undefined : await provisioningOf({ link, node, nodeId, folder, env, dockerHost, log });
  const agent = await startAgent({ ...settings, node, link, provisioning, log });
  const stopping = new AbortController();
  const taking =
    link === undefined || jobs === undefined ? undefined : takeJobs({ ...settings, ...jobs, link, agent, provisioning, signal: stopping.signal, log });
  if (taking === undefined) log.info('No jobs are taken');
  await askedToStop;
  stopping.abort();
  await (await taking)?.stop(); // (2)
  await provisioning?.stop();
  await agent.stop();
  await link?.close();
}

async function openLink({ way, ...settings }: WorkSettings, node: EnrolledNode, log: Logger): Promise<NodeLink | undefined> {
  switch (way.kind) {
    case 'redis':
      return (await import('./redis-link.ts')).redisLink({ ...settings, redis: way.redis, node, log });
    case 'api':
      return (await import('./api-link.ts')).apiLink({ ...settings, url: way.url, node, log });
    case 'none':
      return undefined;
  }
}

interface ProvisioningNeeds {
  readonly link: NodeLink;
  readonly node: EnrolledNode;
  readonly nodeId: string;
  readonly folder: string;
  readonly env: Environment;
  readonly dockerHost: string | undefined;
  readonly log: Logger;
}

/** Throws InvalidSettingError; the link is closed then. */
async function provisioningOf({ link, node, nodeId, folder, env, dockerHost, log }: ProvisioningNeeds): Promise<Provisioning> {
  const source = link.configSource();
  try {
    return new Provisioning({
      nodeId,
      folder,
      source,
      catalogue: loadCatalogue(env[CATALOGUE_SETTING]),
      enrolled: () => node.credentials,
      allowManual: env['CASTELLAN_ALLOW_MANUAL_CONFIG'] === 'true',
      onRedeemed: () => node.redeemed(),
      clock: systemClock(),
      ...(dockerHost === undefined ? {} : { dockerHost }),
      log,
    });
  } catch (error) {
    await source.close();
    await link.close();
    throw error;
  }
}

interface AgentNeeds extends WorkSettings {
  readonly node: EnrolledNode;
  readonly link: NodeLink | undefined;
  readonly provisioning: Provisioning | undefined;
  readonly log: Logger;
}

/** Throws InvalidSettingError; nothing is left running then. */
async function startAgent({ reportsStatus, node, link, provisioning, log, ...settings }: AgentNeeds): Promise<Agent> {
  const publisher = reportsStatus ? link?.publisher() : undefined;
  const { deviceCode, ...known } = settings;
  const code = node.deviceCode ?? deviceCode;
  try {
    const agent = createAgent({
      ...known,
      ...(publisher === undefined ? {} : { publisher }),
      ...(provisioning === undefined ? {} : { profile: provisioning.profile }),
      ...(code === undefined ? {} : { deviceCode: code }),
      log,
    });
    node.onDeviceCode((told) => {
      agent.setDeviceCode(told); // (3)
      if (told === undefined) log.info('The device code was redeemed; it is not sent any more');
    });
    await provisioning?.start();
    await agent.start();
    return agent;
  } catch (error) {
    await provisioning?.stop();
    await publisher?.close();
    await link?.close();
    throw error;
  }
}

interface TakingNeeds extends WorkSettings, JobSettings {
  readonly link: NodeLink;
  readonly agent: Agent;
  readonly provisioning: Provisioning | undefined;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** Undefined when it is asked to stop before the queues are known. */
async function takeJobs({ agent, provisioning, ...settings }: TakingNeeds): Promise<Worker | undefined> {
  const { startJobs } = await import('./work-jobs.ts');
  return await startJobs({ ...settings, statusPort: () => agent.statusPort, ...(provisioning === undefined ? {} : { jobs: [provisioning.job()] }) });
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
