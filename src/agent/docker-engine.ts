/**
 * Plain HTTP to this machine's Docker engine: where it is, and one bounded question.
 *
 * A client library for it was measured at 15 MB of the agent's memory.
 */
import { request } from 'node:http';

export const CONTAINER_PREFIX = 'citadel-';
export const DEFAULT_ENGINE = 'unix:///var/run/docker.sock';
const ENGINE_PORT = 2375;
/** An inspection takes some 10 KB; what an action answers is shorter. */
const ANSWER_BYTES_MAX = 1024 * 1024;

export type EngineAddress = { readonly host: string; readonly port: number } | { readonly socketPath: string };

/** `engine` is `unix:///path` or `tcp://host:port`, as in `DOCKER_HOST`; undefined for anything else. */
export function engineAddress(engine: string): EngineAddress | undefined {
  if (engine.startsWith('unix://')) return { socketPath: engine.slice('unix://'.length) };
  if (!/^(tcp|http):\/\//.test(engine) || !URL.canParse(engine)) return undefined;
  const { hostname, port } = new URL(engine);
  return { host: hostname, port: port === '' ? ENGINE_PORT : Number(port) };
}

export type EngineAnswer =
  | { readonly kind: 'answered'; readonly status: number; readonly body: unknown }
  /** There is no engine, or it does not answer. */
  | { readonly kind: 'unreachable'; readonly reason: string };

/** Asks once. `path` begins with `/` and holds nothing that was not encoded. */
export function askEngine(address: EngineAddress, method: 'GET' | 'POST', path: string, signal: AbortSignal): Promise<EngineAnswer> {
  return new Promise((resolve) => {
    const unreachable = ({ code, message }: NodeJS.ErrnoException): void => resolve({ kind: 'unreachable', reason: code ?? message });
    const headers = { accept: 'application/json', ...('host' in address ? {} : { host: 'localhost' }) };
    const question = request({ ...address, method, path, headers, agent: false, signal });
    question.on('error', unreachable);
    question.on('response', (answer) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on('error', unreachable);
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > ANSWER_BYTES_MAX) question.destroy(new Error(`answer longer than ${ANSWER_BYTES_MAX} bytes`));
        else chunks.push(chunk);
      });
      answer.on('end', () => resolve({ kind: 'answered', status: answer.statusCode ?? 0, body: parsed(Buffer.concat(chunks).toString()) }));
    });
    question.end();
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
