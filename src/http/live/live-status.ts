/**
 * Asks a node's agent for its status now.
 *
 * What the node says of its own address is not trusted (proof: `/live` cannot reach what it should not):
 * 1. The address is a literal of an allowed network; loopback only for the agent that was started with this control plane.
 * 2. It is checked again on the connected socket, before a byte is written.
 * 3. Path and method are fixed, redirects are not followed, ports below 1024 are refused, no credential is sent.
 * 4. The whole takes at most {@link LIVE_TIMEOUT_MS}, the body has at most {@link LIVE_BYTES_MAX}.
 * 5. Only a JSON object that looks like a status is passed on, so that nothing else of an inside service is shown.
 */
import { isIPv6 } from 'node:net';
import { Agent, buildConnector, request, type Dispatcher } from 'undici';
import type { LiveTarget } from '../../protocol/control-plane.ts';
import type { Json } from '../../protocol/json.ts';
import { allowedNetwork, isLoopback, type AddressCheck } from './allowed-network.ts';

export const LIVE_TIMEOUT_MS = 2_000;
export const LIVE_BYTES_MAX = 65_536;
const DEFAULT_STATUS_PORT = 8080;
const LOOPBACK = '127.0.0.1';

export type LiveAnswer =
  | { readonly kind: 'answered'; readonly status: Json }
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'timeout'; readonly why: string }
  | { readonly kind: 'invalid'; readonly why: string };

export interface LiveStatus {
  ask(target: LiveTarget): Promise<LiveAnswer>;
  close(): Promise<void>;
}

export interface LiveOptions {
  readonly networks: readonly string[];
  readonly localNodeId?: string;
  readonly timeoutMs?: number;
}

export function liveStatus({ networks, localNodeId, timeoutMs = LIVE_TIMEOUT_MS }: LiveOptions): LiveStatus {
  const outside = guardedDispatcher(allowedNetwork(networks), timeoutMs);
  const local = guardedDispatcher(isLoopback, timeoutMs);
  const allowed = allowedNetwork(networks);
  return {
    async ask(target) {
      const isLocal = target.nodeId === localNodeId;
      const address = isLocal ? LOOPBACK : (target.tailscaleIp ?? target.networkIp);
      const port = target.statusPort ?? DEFAULT_STATUS_PORT;
      if (address === undefined) return { kind: 'refused', why: 'The node has not reported an address.' };
      if (!isLocal && !allowed(address)) return { kind: 'refused', why: `The address ${address.slice(0, 64)} is in none of the networks of LIVE_NETWORKS.` };
      if (!Number.isInteger(port) || port < 1024 || port > 65_535) return { kind: 'refused', why: 'The status port must be from 1024 to 65535.' };
      return await fetchStatus(`http://${isIPv6(address) ? `[${address}]` : address}:${port}/status`, isLocal ? local : outside, timeoutMs);
    },
    async close() {
      await Promise.all([outside.destroy(), local.destroy()]);
    },
  };
}

/** Upholds (2): the socket's actual peer is what counts. No connection is kept for the next question. */
export function guardedDispatcher(allowed: AddressCheck, timeoutMs: number): Agent {
  const connect = buildConnector({ timeout: timeoutMs });
  return new Agent({
    pipelining: 0,
    connect(options, callback) {
      connect(options, (error, socket) => {
        if (error !== null) return callback(error, null);
        if (allowed(socket.remoteAddress ?? '')) return callback(null, socket);
        socket.destroy();
        return callback(new AddressRefused(), null);
      });
    },
  });
}

async function fetchStatus(url: string, dispatcher: Dispatcher, timeoutMs: number): Promise<LiveAnswer> {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const response = await request(url, { dispatcher, signal, method: 'GET', headers: { accept: 'application/json' } });
    // A body that is cut short reports it as an event too, which without a listener would end the process.
    response.body.on('error', () => undefined);
    if (response.statusCode !== 200) {
      response.body.destroy();
      return { kind: 'invalid', why: `The agent answered with HTTP status ${response.statusCode}.` };
    }
    const text = await readBounded(response.body);
    return text === undefined ? { kind: 'invalid', why: `The answer is longer than ${LIVE_BYTES_MAX} bytes.` } : parseStatus(text);
  } catch (error) {
    if (error instanceof AddressRefused) return { kind: 'refused', why: error.message };
    return { kind: 'timeout', why: signal.aborted ? `No answer within ${timeoutMs} ms.` : 'The agent cannot be reached at its address.' };
  }
}

async function readBounded(body: AsyncIterable<Buffer> & { destroy(): unknown }): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > LIVE_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseStatus(text: string): LiveAnswer {
  try {
    const value = JSON.parse(text) as { node?: unknown; system?: unknown } | null;
    if (typeof value === 'object' && isObject(value?.node) && isObject(value?.system)) return { kind: 'answered', status: value as Json };
    return { kind: 'invalid', why: 'The answer has no "node" and "system" object.' };
  } catch {
    return { kind: 'invalid', why: 'The answer is not JSON.' };
  }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Stays within this folder: how the connector tells its request why. */
export class AddressRefused extends Error {
  constructor() {
    super('The connection ended at an address outside the enrolled network.');
  }
}
