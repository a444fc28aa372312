/**
 * Where settings come from, for every command.
 *
 * 1. A flag wins over the environment, the environment over `.env`, `.env` over the default. What is there wins even when it is
 *    empty: `REDIS_URL= npm start` asks for no Redis URL, whatever `.env` says.
 * 2. `.env` is read once, before any command runs; parsers are given the {@link Environment} as a value.
 * 3. An unusable value is an InvalidSettingError that names the setting; it never quotes one that may hold a secret.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pino, type Logger } from 'pino';
import { InvalidSettingError } from '../protocol/errors.ts';

export type Environment = { readonly [variable: string]: string | undefined };

export const DEFAULT_DATA_DIR = '.castellan';
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Adds what `.env` in this folder says and the environment does not. (2) */
export function loadEnvironmentFile(folder: string = process.cwd()): void {
  const file = resolve(folder, '.env');
  if (!existsSync(file)) return;
  try {
    process.loadEnvFile(file);
  } catch (error) {
    throw new InvalidSettingError('.env', `cannot be read: ${(error as Error).message}. Make it readable, or remove it.`);
  }
}

/** The environment with the flags that were given above it, each under the name of its variable. (1) */
export function environmentWith(flags: Environment, environment: Environment = process.env): Environment {
  return { ...environment, ...Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined)) };
}

/** Absolute path of the folder that holds the embedded Redis, the secret and the admin token. */
export function readDataDir(environment: Environment, folder: string = process.cwd()): string {
  return resolve(folder, environment['CASTELLAN_DATA_DIR'] || DEFAULT_DATA_DIR);
}

/** Reads `LOG_LEVEL`. */
export function readLogLevel(environment: Environment, missing: LogLevel): LogLevel {
  const text = environment['LOG_LEVEL'];
  if (!text) return missing;
  const level = LOG_LEVELS.find((each) => each === text.toLowerCase());
  if (level === undefined) throw new InvalidSettingError('LOG_LEVEL', `must be one of ${LOG_LEVELS.join(', ')}.`);
  return level;
}

/** The log goes to standard error as JSON lines, so that standard output stays for what a command answers. */
export function createLog(name: string, level: LogLevel): Logger {
  return pino({ name, level }, pino.destination({ fd: 2, sync: true }));
}
