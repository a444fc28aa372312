/**
 * Which language-model servers answer on this machine, and which models they have loaded.
 *
 * 1. A server is known by its answer, not by its port: anything else that listens there is not listed.
 * 2. Our own status port is never asked.
 */
import { PROBE_BYTES_MAX, PROBE_TIMEOUT_MS, probeJson } from './http-probe.ts';

export type ModelServerKind = 'vllm' | 'ollama';
export interface ModelEndpoint {
  readonly kind: ModelServerKind;
  readonly port: number;
}
export interface ModelServer extends ModelEndpoint {
  readonly models: readonly string[];
}

/** vLLM's own default and the one its container is published on; Ollama's default. */
export const MODEL_ENDPOINTS: readonly ModelEndpoint[] = [
  { kind: 'vllm', port: 8000 },
  { kind: 'vllm', port: 8201 },
  { kind: 'ollama', port: 11434 },
];

export interface ModelObserver {
  /** Asks the standard endpoints and `more`, each port once. */
  observe(more: readonly ModelEndpoint[], ownPort: number | undefined): Promise<readonly ModelServer[]>;
}

export function modelObserver(endpoints: readonly ModelEndpoint[] = MODEL_ENDPOINTS): ModelObserver {
  return {
    async observe(more, ownPort) {
      const byPort = new Map([...endpoints, ...more].map((endpoint) => [endpoint.port, endpoint]));
      if (ownPort !== undefined) byPort.delete(ownPort);
      const found = await Promise.all([...byPort.values()].map(ask));
      return found.filter((server) => server !== undefined);
    },
  };
}

const LOOPBACK = '127.0.0.1';
const QUESTIONS: { readonly [kind in ModelServerKind]: { readonly path: string; readonly list: string; readonly name: string } } = {
  vllm: { path: '/v1/models', list: 'data', name: 'id' },
  ollama: { path: '/api/tags', list: 'models', name: 'name' },
};

async function ask(endpoint: ModelEndpoint): Promise<ModelServer | undefined> {
  const { path, list, name } = QUESTIONS[endpoint.kind];
  const outcome = await probeJson({ address: { host: LOOPBACK, port: endpoint.port }, path, timeoutMs: PROBE_TIMEOUT_MS, bytesMax: PROBE_BYTES_MAX });
  if (outcome.kind !== 'json') return undefined;
  const entries = fieldOf(outcome.body, list);
  if (!Array.isArray(entries)) return undefined;
  const models = entries.map((entry) => fieldOf(entry, name)).filter((model) => typeof model === 'string');
  return { ...endpoint, models };
}

function fieldOf(value: unknown, field: string): unknown {
  return typeof value === 'object' && value !== null ? (value as { readonly [key: string]: unknown })[field] : undefined;
}
