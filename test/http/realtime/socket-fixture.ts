/** API processes over one real Redis, users with tokens, and their Socket.IO clients that remember what they heard. */
import { onTestFinished } from 'vitest';
import { SignJWT } from 'jose';
import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client';
import { createHttpServer, type HttpServerOptions } from '../../../src/http/server.ts';
import { DEFAULT_LIVE_NETWORKS, type HttpSettings } from '../../../src/http/settings.ts';
import type { RebalanceJobs } from '../../../src/protocol/rebalance.ts';
import { connectRedis, type RedisConnections } from '../../../src/redis/connect.ts';
import { parseRedisUrl } from '../../../src/redis/target.ts';
import type { TestRedis } from '../../redis-server.ts';
import { createFakeControlPlane } from '../fake-control-plane.ts';

export const SECRET = new TextEncoder().encode('a secret of another program, long enough');
const WAIT_MS = 10_000;

export interface Api {
  readonly url: string;
  readonly redis: RedisConnections;
  close(): Promise<void>;
}

export type ApiOptions = Partial<Omit<HttpServerOptions, 'settings' | 'jobs' | 'rebalance'>> & {
  readonly settings?: Partial<HttpSettings>;
  readonly jobs?: RebalanceJobs;
};

/** One API process: its own connections, its own port. */
export async function startApi(server: TestRedis, { settings, jobs = NO_JOBS, ...options }: ApiOptions = {}): Promise<Api> {
  const redis = await connectRedis(parseRedisUrl(server.url));
  const http = await createHttpServer({
    controlPlane: createFakeControlPlane(),
    tokenKeys: { kind: 'secret', secret: SECRET, strict: false },
    ownSecret: new TextEncoder().encode('the secret of the data folder, long enough'),
    version: '0.0.0-test',
    rebalance: { jobs, events: redis.userEvents },
    ...options,
    settings: { corsOrigins: [], liveNetworks: DEFAULT_LIVE_NETWORKS, requestsPerMinute: 100_000, ...settings },
  });
  const url = await http.app.listen({ host: '127.0.0.1', port: 0 });
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= http.app.close().then(() => redis.close()));
  onTestFinished(close);
  return { url, redis, close };
}

const NO_JOBS: RebalanceJobs = { create: async () => ({ jobId: 'none' }), get: async () => undefined };

/** A token of the program that owns the secret: it knows nothing of roles. */
export async function tokenOf(publicKey: string, expiresIn: string | number = '1h', claims: Record<string, unknown> = {}): Promise<string> {
  return await new SignJWT({ publicKey, ...claims }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime(expiresIn).sign(SECRET);
}

export interface Heard {
  readonly name: string;
  readonly data: { readonly jobId: string; readonly status?: string; readonly cursor: string; readonly [field: string]: unknown };
}

export interface TestClient {
  readonly socket: Socket;
  readonly heard: Heard[];
  /** Names and job ids, such as `done j1`. */
  readonly told: string[];
  /** Resolves when so many were heard. */
  hears(count: number): Promise<Heard[]>;
}

export async function connectClient(
  url: string,
  token: string,
  options: Partial<ManagerOptions & SocketOptions> & { cursor?: string } = {},
): Promise<TestClient> {
  const client = openClient(url, token, options);
  await new Promise<void>((resolve, reject) => {
    client.socket.once('connect', () => resolve());
    client.socket.once('connect_error', reject);
  });
  return client;
}

/** Does not wait for the connection. */
export function openClient(
  url: string,
  token: string | undefined,
  { cursor, ...options }: Partial<ManagerOptions & SocketOptions> & { cursor?: string } = {},
): TestClient {
  const auth = { ...(token === undefined ? {} : { token }), ...(cursor === undefined ? {} : { cursor }) };
  const socket = io(url, { auth, forceNew: true, ...options });
  onTestFinished(() => void socket.disconnect());
  const heard: Heard[] = [];
  const told: string[] = [];
  socket.onAny((name: string, data: Heard['data']) => {
    heard.push({ name, data });
    told.push(`${name.replace('rebalance:', '')} ${data.jobId}`);
  });
  return {
    socket,
    heard,
    told,
    hears: async (count) => {
      await until(() => heard.length >= count, `${count} events; heard ${told.join(', ')}`);
      return heard;
    },
  };
}

export function refusalOf({ socket }: TestClient): Promise<Error & { data?: { code: string; status: number } }> {
  return new Promise((resolve, reject) => {
    socket.once('connect_error', resolve);
    socket.once('connect', () => reject(new Error('It was admitted.')));
  });
}

export async function until(holds: () => boolean | Promise<boolean>, what = 'the condition'): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`Waited in vain for ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
