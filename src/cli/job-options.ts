/** The options that describe a job on a command line, for `run` and `schedules set`. */
import { readFile } from 'node:fs/promises';
import { text as textOf } from 'node:stream/consumers';
import type { Command } from 'commander';
import { InvalidSettingError } from '../protocol/errors.ts';
import type { JobRequest, JobRequirements } from '../protocol/job.ts';
import type { Json } from '../protocol/json.ts';
import { readDurationMs } from './durations.ts';
import { fullQueueName } from './queues.ts';

export interface JobFlags {
  readonly payload?: string;
  readonly queue?: string;
  readonly priority?: string;
  readonly delay?: string;
  readonly attempts?: string;
  readonly timeout?: string;
  readonly tag?: readonly string[];
  readonly gpuMemory?: string;
  readonly node?: string;
}

export function addJobOptions(command: Command): Command {
  return command
    .option('--payload <json>', 'JSON, @file, or - for standard input')
    .option('--queue <queue>', 'such as jobs:v1:cpu-general, or cpu-general; default gpu-general')
    .option('--priority <priority>', 'high, normal, low or a number; larger is sooner')
    .option('--delay <duration>', 'wait so long first, such as 10m')
    .option('--attempts <tries>', 'tries in all; default 3')
    .option('--timeout <duration>', 'longest time with a worker; default 5m')
    .option('--tag <tag...>', 'only on a node with all of these tags')
    .option('--gpu-memory <MiB>', 'only on a node with so much free on one GPU')
    .option('--node <id>', 'only on this node');
}

/** Throws InvalidSettingError naming the flag. */
export async function jobRequestFrom(type: string, flags: JobFlags): Promise<JobRequest> {
  const { payload, queue, priority, delay, attempts, timeout } = flags;
  const requires = requirementsFrom(flags);
  return {
    type,
    ...(payload === undefined ? {} : { payload: await readPayload(payload) }),
    ...(queue === undefined ? {} : { queue: fullQueueName(queue) }),
    ...(priority === undefined ? {} : { priority: /^-?\d+$/.test(priority) ? Number(priority) : (priority as 'high') }),
    ...(delay === undefined ? {} : { delayMs: readDurationMs(delay, '--delay') }),
    ...(attempts === undefined ? {} : { attempts: readNumber(attempts, '--attempts') }),
    ...(timeout === undefined ? {} : { timeoutMs: readDurationMs(timeout, '--timeout') }),
    ...(requires === undefined ? {} : { requires }),
  };
}

function requirementsFrom({ tag, gpuMemory, node }: JobFlags): JobRequirements | undefined {
  if (tag === undefined && gpuMemory === undefined && node === undefined) return undefined;
  return {
    ...(tag === undefined ? {} : { tags: tag }),
    ...(gpuMemory === undefined ? {} : { gpuMemoryMb: readNumber(gpuMemory, '--gpu-memory') }),
    ...(node === undefined ? {} : { node }),
  };
}

async function readPayload(given: string): Promise<Json> {
  const source = given === '-' ? await textOf(process.stdin) : given.startsWith('@') ? await readPayloadFile(given.slice(1)) : given;
  try {
    return JSON.parse(source) as Json;
  } catch (error) {
    throw new InvalidSettingError('--payload', `is not JSON: ${(error as Error).message}`);
  }
}

async function readPayloadFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new InvalidSettingError('--payload', `cannot be read: ${(error as Error).message}`);
  }
}

function readNumber(text: string, flag: string): number {
  const number = Number(text);
  if (text.trim() === '' || !Number.isFinite(number)) throw new InvalidSettingError(flag, 'must be a number.');
  return number;
}
