/**
 * A Docker engine of its own for a test: everything in a temporary folder, ended by the test that started it.
 * It needs root, dockerd, iptables and a static busybox; {@link whyNoEngine} says what is missing.
 */
import { execFile, spawn } from 'node:child_process';
import { access, mkdir, mkdtemp, copyFile, rm, symlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import { until } from './until.ts';

const run = promisify(execFile);

export interface DockerEngine {
  /** As in `DOCKER_HOST`. */
  readonly host: string;
  readonly docker: Docker;
  /** SIGSTOP: the socket accepts and nothing answers. */
  pause(): void;
  resume(): void;
  stop(): Promise<void>;
}

/** Undefined when an engine can be started here. */
export async function whyNoEngine(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'a Docker engine of its own needs Linux';
  if (process.getuid?.() !== 0) return 'a Docker engine of its own needs root';
  const missing: string[] = [];
  for (const program of ['dockerd', 'containerd', 'iptables', 'busybox']) if ((await find(program)) === undefined) missing.push(program);
  return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')} (apt-get install docker.io iptables busybox-static)`;
}

/** How long a test file may have to wait for its engine: the longest one of the others. */
export const ENGINE_TIMEOUT_MS = 600_000;

/** Two engines at once would fight for one bridge, one set of packet filter rules and the same subnets: a lock that the kernel frees with its process. */
async function takeTurn(): Promise<() => void> {
  return await until(
    'no other engine of a test runs',
    async () => {
      const lock = createServer();
      const { promise, resolve } = Promise.withResolvers<boolean>();
      lock.once('error', () => resolve(false));
      lock.listen('\0castellan-test-docker-engine', () => resolve(true));
      return (await promise) && (() => void lock.close());
    },
    ENGINE_TIMEOUT_MS,
  );
}

/** `image` is made of a static busybox alone. Waits for its turn: give the hook that calls it {@link ENGINE_TIMEOUT_MS}. */
export async function startDockerEngine(image: string): Promise<DockerEngine> {
  const endTurn = await takeTurn();
  const folder = await mkdtemp(join(tmpdir(), 'castellan-docker-'));
  const socketPath = join(folder, 'docker.sock');
  const args = ['--storage-driver=vfs', '--data-root', join(folder, 'data'), '--exec-root', join(folder, 'exec')];
  const child = spawn('dockerd', [...args, '-H', `unix://${socketPath}`, '--pidfile', join(folder, 'pid')], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const keep = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-4_000));
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const docker = new Docker({ socketPath });
  const stop = async (): Promise<void> => {
    child.kill('SIGCONT');
    // An engine that ends leaves the bridges of its networks behind, and with them their addresses.
    for (const { Id } of await docker.listNetworks().catch(() => [])) {
      await docker
        .getNetwork(Id)
        .remove()
        .catch(() => undefined);
    }
    child.kill('SIGTERM');
    await gone;
    endTurn();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await until('dockerd answers', async () => {
      if (child.exitCode !== null) throw new Error(`dockerd ended: ${output}`);
      return docker.ping().then(
        () => true,
        () => false,
      );
    });
    await importImage(docker, folder, image);
  } catch (error) {
    await stop();
    throw error;
  }
  return { host: `unix://${socketPath}`, docker, pause: () => child.kill('SIGSTOP'), resume: () => child.kill('SIGCONT'), stop };
}

async function importImage(docker: Docker, folder: string, image: string): Promise<void> {
  const root = join(folder, 'root');
  await mkdir(join(root, 'bin'), { recursive: true });
  await copyFile((await find('busybox')) ?? '', join(root, 'bin', 'busybox'));
  await symlink('busybox', join(root, 'bin', 'sh'));
  const archive = join(folder, 'root.tar');
  await run('tar', ['-C', root, '-cf', archive, '.']);
  const [repo, tag] = image.split(':');
  const progress = await docker.importImage(archive, { repo, tag });
  await new Promise<void>((resolve, reject) => docker.modem.followProgress(progress, (error) => (error ? reject(error) : resolve())));
}

async function find(program: string): Promise<string | undefined> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program);
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  return undefined;
}
