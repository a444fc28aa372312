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

export type EngineMethod = 'GET' | 'POST' | 'DELETE';

/** Asks once. `path` begins with `/` and holds nothing that was not encoded. `body` is sent as JSON. */
export async function askEngine(address: EngineAddress, method: EngineMethod, path: string, signal: AbortSignal, body?: unknown): Promise<EngineAnswer> {
  const answer = await askEngineBytes(address, method, path, signal, body);
  return answer.kind === 'answered' ? { ...answer, body: parsed(answer.body.toString()) } : answer;
}

export type EngineBytes = { readonly kind: 'answered'; readonly status: number; readonly body: Buffer } | Extract<EngineAnswer, { kind: 'unreachable' }>;

/** As {@link askEngine}, for an answer that is no JSON. With `onPart` each part is handed on as it comes, and `body` has but the first of them. */
export function askEngineBytes(
  address: EngineAddress,
  method: EngineMethod,
  path: string,
  signal: AbortSignal,
  body?: unknown,
  onPart?: (part: Buffer) => void,
): Promise<EngineBytes> {
  return new Promise((resolve) => {
    const unreachable = ({ code, message }: NodeJS.ErrnoException): void => resolve({ kind: 'unreachable', reason: code ?? message });
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      accept: 'application/json',
      ...('host' in address ? {} : { host: 'localhost' }),
      ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    };
    const question = request({ ...address, method, path, headers, agent: false, signal });
    question.on('error', unreachable);
    question.on('response', (answer) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on('error', unreachable);
      answer.on('data', (chunk: Buffer) => {
        onPart?.(chunk);
        bytes += chunk.length;
        if (bytes <= ANSWER_BYTES_MAX) chunks.push(chunk);
        else if (onPart === undefined) question.destroy(new Error(`answer longer than ${ANSWER_BYTES_MAX} bytes`));
      });
      answer.on('end', () => resolve({ kind: 'answered', status: answer.statusCode ?? 0, body: Buffer.concat(chunks) }));
    });
    question.end(text);
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
