/**
 * Answers questions about this node: `GET /status` (flat form), `/health` and `/metrics` (Prometheus).
 *
 * 1. It listens on loopback and on the mesh address, never on all interfaces.
 * 2. It only reads, takes no body, and bounds connections and time: a stranger on the mesh cannot hold it up.
 * 3. A taken port is a setting to change, so the error names the flag.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { InvalidSettingError } from '../protocol/errors.ts';
import type { NodeStatus } from './status.ts';

/** People, one scraper and the control plane: a few at a time. */
const CONNECTIONS_MAX = 64;
/** Questions have no body. */
const REQUEST_TIMEOUT_MS = 5_000;
const HEADER_BYTES_MAX = 8 * 1024;

export const LOOPBACK = '127.0.0.1';

export interface StatusServerOptions {
  /** 0: any free port. */
  readonly port: number;
  readonly status: () => Promise<NodeStatus>;
  /** The text of `/metrics`, in Prometheus's format. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
}

export class StatusServer {
  readonly #options: StatusServerOptions;
  readonly #servers = new Map<string, Server>();
  #port: number | undefined;

  constructor(options: StatusServerOptions) {
    this.#options = options;
  }

  /** Undefined before {@link listen}. */
  get port(): number | undefined {
    return this.#port;
  }

  /** Throws {@link InvalidSettingError} when the port cannot be had. */
  async listen(): Promise<void> {
    await this.#listenOn(LOOPBACK, this.#options.port);
  }

  /** Also listens on the mesh address, and stops listening on one that it was before. Throws like {@link listen}. */
  async follow(meshAddress: string | undefined): Promise<void> {
    if (this.#port === undefined) return;
    for (const [address, server] of this.#servers) {
      if (address === LOOPBACK || address === meshAddress) continue;
      this.#servers.delete(address);
      await close(server);
    }
    if (meshAddress !== undefined && !this.#servers.has(meshAddress)) await this.#listenOn(meshAddress, this.#port);
  }

  async close(): Promise<void> {
    const servers = [...this.#servers.values()];
    this.#servers.clear();
    await Promise.all(servers.map(close));
  }

  async #listenOn(address: string, port: number): Promise<void> {
    const limits = { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS, maxHeaderSize: HEADER_BYTES_MAX };
    const server = createServer(limits, (request, response) => void this.#answer(request, response));
    server.maxConnections = CONNECTIONS_MAX;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(unusablePort(address, port, error)));
      server.listen(port, address, resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#servers.set(address, server);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== 'GET' && request.method !== 'HEAD') return reply(response, 405, 'text/plain', 'Only GET is answered.\n', { allow: 'GET, HEAD' });
    try {
      switch ((request.url ?? '').split('?', 1)[0]) {
        case '/status':
          return reply(response, 200, 'application/json', JSON.stringify(await this.#options.status()));
        case '/health':
          return reply(response, 200, 'application/json', '{"status":"ok"}');
        case '/metrics': {
          const { contentType, text } = await this.#options.metrics();
          return reply(response, 200, contentType, text);
        }
        default:
          return reply(response, 404, 'text/plain', 'There are /status, /health and /metrics.\n');
      }
    } catch {
      reply(response, 500, 'text/plain', 'The status could not be collected.\n');
    }
  }
}

function reply(response: ServerResponse, code: number, contentType: string, body: string, headers: { readonly [name: string]: string } = {}): void {
  response.writeHead(code, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  });
  response.end(body);
}

function unusablePort(address: string, port: number, error: NodeJS.ErrnoException): Error {
  if (error.code === 'EADDRINUSE')
    return new InvalidSettingError(
      '--status-port',
      `is ${port}, which another program uses on ${address}. Choose a free one, for example --status-port=${port + 1}, or 0 for any.`,
    );
  if (error.code === 'EACCES') return new InvalidSettingError('--status-port', `is ${port}, which this user may not open. Choose one above 1023.`);
  return error;
}

async function close(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  server.closeAllConnections();
  await promise;
}
