/**
 * Finds a redis-server or valkey-server on this machine, or installs one with the system's package manager.
 *
 * 1. Nothing is installed where a program is found, where installing is not wanted, or where it would need a password.
 * 2. When there is none in the end, the error names the one command that helps.
 */
import { execFile, spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { RedisUnusableError } from '../protocol/errors.ts';

export interface ProgramSearch {
  /** Folders to search, as in PATH. */
  readonly path: string;
  /** May a package be installed? */
  readonly install: boolean;
  readonly isRoot: boolean;
  /** Told what is being done, for a person. */
  readonly tell: (message: string) => void;
}

export interface ServerProgram {
  readonly path: string;
  /** `7.0.15` */
  readonly version: string;
}

const NAMES = ['redis-server', 'valkey-server'];
/** Package managers put programs here; a service's PATH may lack them. */
const MORE_FOLDERS = ['/usr/local/bin', '/usr/bin', '/usr/sbin', '/opt/homebrew/bin', '/snap/bin'];
/** Functions came with 7.0. */
const MAJOR_MIN = 7;
/** A slow mirror may take minutes; after this the person is told instead. */
const INSTALL_TIMEOUT_MS = 300_000;

interface PackageManager {
  readonly program: string;
  readonly needsRoot: boolean;
  /** Tried in their order until one works. */
  readonly commands: readonly string[];
}

const PACKAGE_MANAGERS: readonly PackageManager[] = [
  { program: 'apt-get', needsRoot: true, commands: ['apt-get update && apt-get install -y --no-install-recommends redis-server'] },
  { program: 'dnf', needsRoot: true, commands: ['dnf install -y redis', 'dnf install -y valkey'] },
  { program: 'apk', needsRoot: true, commands: ['apk add redis', 'apk add valkey'] },
  { program: 'brew', needsRoot: false, commands: ['brew install redis'] },
];

/** Throws RedisUnusableError with the command that installs one. */
export async function findServerProgram(search: ProgramSearch): Promise<ServerProgram> {
  const found = await findInstalled(search.path);
  if (found) return found;
  const manager = await findPackageManager(search.path);
  const mayInstall = search.install && manager !== undefined && (!manager.needsRoot || search.isRoot);
  if (!mayInstall) throw missing(manager, search.isRoot);
  for (const command of manager.commands) {
    search.tell(`No redis-server found. Installing one: ${command}`);
    if (!(await runShell(command, search))) continue;
    const installed = await findInstalled(search.path);
    if (installed) return installed;
  }
  throw missing(manager, search.isRoot);
}

/** What {@link findServerProgram} would find or do; changes nothing. */
export type ServerProgramOutlook =
  | { readonly kind: 'found'; readonly program: ServerProgram }
  | { readonly kind: 'installable'; readonly command: string }
  /** `command`: what a person with the rights types. */
  | { readonly kind: 'missing'; readonly command?: string };

export async function serverProgramOutlook({ path, isRoot }: Pick<ProgramSearch, 'path' | 'isRoot'>): Promise<ServerProgramOutlook> {
  const program = await findInstalled(path);
  if (program !== undefined) return { kind: 'found', program };
  const manager = await findPackageManager(path);
  const command = manager?.commands[0];
  if (manager === undefined || command === undefined) return { kind: 'missing' };
  return manager.needsRoot && !isRoot ? { kind: 'missing', command: `sudo sh -c '${command}'` } : { kind: 'installable', command };
}

async function findInstalled(path: string): Promise<ServerProgram | undefined> {
  for (const name of NAMES) {
    for (const folder of foldersOf(path)) {
      const program = join(folder, name);
      if (!(await isExecutable(program))) continue;
      const version = await versionOf(program);
      if (version !== undefined && Number.parseInt(version, 10) >= MAJOR_MIN) return { path: program, version };
    }
  }
  return undefined;
}

/** An empty PATH means: search nowhere, not in the usual places either. */
function foldersOf(path: string): string[] {
  return path === '' ? [] : [...new Set([...path.split(delimiter), ...(path.includes('/usr/bin') ? MORE_FOLDERS : [])])].filter((folder) => folder !== '');
}

async function findPackageManager(path: string): Promise<PackageManager | undefined> {
  for (const manager of PACKAGE_MANAGERS) {
    for (const folder of foldersOf(path)) if (await isExecutable(join(folder, manager.program))) return manager;
  }
  return undefined;
}

function missing(manager: PackageManager | undefined, isRoot: boolean): RedisUnusableError {
  const sentence = `There is no redis-server or valkey-server ${MAJOR_MIN}.0 or newer on this machine.`;
  const command = manager?.commands[0];
  if (manager === undefined || command === undefined) return new RedisUnusableError(`${sentence} Install one, or set REDIS_URL to a Redis elsewhere.`);
  const line = manager.needsRoot && !isRoot ? `sudo sh -c '${command}'` : command;
  return new RedisUnusableError(`${sentence} Install it with:\n  ${line}\nor set REDIS_URL to a Redis elsewhere.`);
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function versionOf(program: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(program, ['--version'], { timeout: 5_000 }, (error, output) => resolve(error ? undefined : /v=(\d+\.\d+\.\d+)/.exec(output)?.[1]));
  });
}

function runShell(command: string, { path, tell }: ProgramSearch): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn('/bin/sh', ['-c', command], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: INSTALL_TIMEOUT_MS,
      // Not interactive, and a freshly installed package shall not start a service of its own.
      env: { PATH: path, HOME: process.env['HOME'], DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    });
    let complaint = '';
    child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-500)));
    child.once('error', () => resolve(false));
    child.once('exit', (code) => {
      if (code !== 0) tell(`Installing failed: ${complaint.trim()}`);
      resolve(code === 0);
    });
  });
}
