/**
 * The real control plane (`castellan serve`) as a child process on a given Redis: started, signalled and asked over HTTP as by a user.
 *
 * 1. Only the process started here is signalled, by its pid.
 * 2. Heartbeats are scaled: an interval of 1 s and a skew of 0.5 s make a node degraded at 2.5 s and offline at 3.5 s.
 */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HistoryPage, NodeView, TransitionView } from '../../src/protocol/control-plane.ts';

const PROGRAM = join(import.meta.dirname, '../../src/cli/main.ts');

export const INTERVAL_MS = 1_000;
export const DEGRADED_MS = 2_500;
export const OFFLINE_MS = 3_500;
export const HEARTBEAT = { HEARTBEAT_INTERVAL_MS: String(INTERVAL_MS), HEARTBEAT_SKEW_MS: '500' };

/** A node process on a loaded machine. */
const START_TIMEOUT_MS = 30_000;

/** While its Redis is away it answers 503; its longest reconnect delay is 3 s. */
const UNAVAILABLE_MS_MAX = 10_000;

export interface ServeProcess {
  readonly pid: number;
  readonly url: string;
  readonly output: () => string;
  /** Whether it still runs. */
  readonly running: () => boolean;
  signal(signal: NodeJS.Signals): void;
  /** Sends the signal and resolves with the exit code when the process is gone; null when it died of the signal. */
  end(signal: NodeJS.Signals): Promise<number | null>;
  /** GET with the administrator's token, again while it answers 503. Undefined for 404. */
  get<Answer>(path: string): Promise<Answer | undefined>;
  text(path: string): Promise<string>;
}

export async function startServe(redisUrl: string, dataDir: string): Promise<ServeProcess> {
  const child = spawn(process.execPath, [PROGRAM, 'serve'], {
    cwd: dataDir,
    env: { PATH: process.env['PATH'], REDIS_URL: redisUrl, PORT: '0', CASTELLAN_DATA_DIR: dataDir, LOG_LEVEL: 'warn', ...HEARTBEAT },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-20_000)));
  const killAtExit = (): void => void child.kill('SIGKILL');
  process.on('exit', killAtExit);
  let running = true;
  const ended = new Promise<number | null>((resolve) =>
    child.once('exit', (code) => {
      running = false;
      process.off('exit', killAtExit);
      resolve(code);
    }),
  );

  let url: string | undefined;
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (url === undefined) {
    url = /control plane: (http:\/\/[^/]+)\//.exec(output)?.[1];
    if (!running || performance.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`The control plane did not start: ${output}`);
    }
    await sleep(10);
  }
  const base = url;
  const token = (await readFile(join(dataDir, 'auth', 'admin-token'), 'utf8')).trim();
  const ask = async (path: string): Promise<Response> => {
    const patience = performance.now() + UNAVAILABLE_MS_MAX;
    for (;;) {
      const response = await fetch(base + path, { headers: { authorization: `Bearer ${token}` } });
      if (response.status !== 503 || performance.now() > patience) return response;
      await sleep(50);
    }
  };
  return {
    pid: child.pid as number,
    url: base,
    output: () => output,
    running: () => running,
    signal: (signal) => void child.kill(signal),
    async end(signal) {
      child.kill('SIGCONT');
      child.kill(signal);
      return await ended;
    },
    async get<Answer>(path: string) {
      const response = await ask(path);
      if (response.status === 404) return undefined;
      if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
      return (await response.json()) as Answer;
    },
    text: async (path) => (await ask(path)).text(),
  };
}

export async function nodeOf(serve: ServeProcess, nodeId: string): Promise<NodeView | undefined> {
  return await serve.get<NodeView>(`/api/fabric/nodes/${nodeId}`);
}

/** A node's whole history, oldest first. */
export async function historyOf(serve: ServeProcess, nodeId: string): Promise<readonly TransitionView[]> {
  const items: TransitionView[] = [];
  for (let cursor: string | null = ''; cursor !== null;) {
    const page: HistoryPage | undefined = await serve.get<HistoryPage>(
      `/api/actors/node/${nodeId}/history?limit=100${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`,
    );
    items.push(...(page?.items ?? []));
    cursor = page?.next ?? null;
  }
  return items.toReversed();
}

/** A change of what is shown of a node's connection. */
export interface ConnectionChange {
  readonly to: string;
  /** ms since the epoch, Redis's time. */
  readonly at: number;
  readonly transition: TransitionView;
}

/** What the node was shown as, change by change, oldest first. */
export function connectionChanges(history: readonly TransitionView[]): readonly ConnectionChange[] {
  return history.flatMap((transition) => {
    const [from, to] = [connectionOf(transition.from), connectionOf(transition.to)];
    return to === undefined || to === from ? [] : [{ to, at: Date.parse(transition.at), transition }];
  });
}

function connectionOf(value: unknown): string | undefined {
  return typeof value === 'object' && value !== null ? (value as { readonly connection?: string }).connection : undefined;
}
