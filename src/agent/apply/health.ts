/**
 * Whether a service that was started answers, and whether it goes on doing so.
 *
 * 1. Asked on the loopback port that it publishes; one that publishes none, at its own address.
 * 2. The engine's proxy accepts a connection before anything in the container listens, and drops it then: only one that lasts counts.
 */
import { connect } from 'node:net';
import { request } from 'node:http';
import type { InspectedContainer } from './containers.ts';
import type { GateTarget } from '../../../machines/apply/steps.ts';

const ASK_TIMEOUT_MS = 2_000;
const CONNECTION_LASTS_MS = 250;
const LOOPBACK = '127.0.0.1';

export type Health = { readonly kind: 'well' } | { readonly kind: 'not-yet'; readonly why: string };

export async function askHealth({ health, ports }: Pick<GateTarget, 'health' | 'ports'>, container: InspectedContainer): Promise<Health> {
  if (!container.running) return { kind: 'not-yet', why: `it does not run (exit code ${container.exitCode}${container.outOfMemory ? ', out of memory' : ''})` };
  if (health.kind === 'command') {
    return container.health === 'healthy' ? { kind: 'well' } : { kind: 'not-yet', why: `its check says ${container.health ?? 'nothing'}` };
  }
  const published = ports.find(({ container: inside }) => inside === health.port)?.host;
  const host = published === undefined ? container.address : LOOPBACK; // (1)
  if (host === undefined) return { kind: 'not-yet', why: 'it has no address' };
  const port = published ?? health.port;
  const fault = health.kind === 'http' ? await httpFault(host, port, health.path) : await tcpFault(host, port);
  return fault === undefined ? { kind: 'well' } : { kind: 'not-yet', why: fault };
}

/** Undefined for a status from 200 to 399. */
function httpFault(host: string, port: number, path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const question = request({ host, port, path, method: 'GET', agent: false, signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
    question.on('error', ({ code, name }: NodeJS.ErrnoException) =>
      resolve(`${path} on port ${port}: ${name === 'TimeoutError' ? 'no answer' : (code ?? name)}`),
    );
    question.on('response', ({ statusCode = 0 }) => {
      resolve(statusCode >= 200 && statusCode < 400 ? undefined : `${path} on port ${port} answers ${statusCode}`);
      question.destroy();
    });
    question.end();
  });
}

/** (2) */
function tcpFault(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const timer = setTimeout(() => end(`port ${port}: no answer`), ASK_TIMEOUT_MS);
    let lasting: NodeJS.Timeout | undefined;
    const end = (fault: string | undefined): void => {
      clearTimeout(timer);
      clearTimeout(lasting);
      socket.destroy();
      resolve(fault);
    };
    socket.on('error', ({ code }: NodeJS.ErrnoException) => end(`port ${port}: ${code ?? 'no connection'}`));
    socket.on('close', () => end(`port ${port}: closed at once`));
    socket.on('data', () => end(undefined));
    socket.on('connect', () => void (lasting = setTimeout(() => end(undefined), CONNECTION_LASTS_MS)));
  });
}
