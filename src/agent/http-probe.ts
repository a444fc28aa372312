/**
 * One bounded question to a server on this machine.
 *
 * 1. No redirects; time and length of the answer are limited.
 * 2. Whatever else answers there is an outcome, not an error.
 */
import { request } from 'node:http';

/** A local server that needs longer is not serving. */
export const PROBE_TIMEOUT_MS = 1_000;
/** Ollama writes some 400 bytes a model: room for hundreds. */
export const PROBE_BYTES_MAX = 256 * 1024;

export type ProbeOutcome =
  | { readonly kind: 'json'; readonly body: unknown }
  /** Nobody listens there. */
  | { readonly kind: 'refused' }
  | { readonly kind: 'unusable'; readonly reason: string };

export interface ProbeTarget {
  readonly address: { readonly host: string; readonly port: number } | { readonly socketPath: string };
  readonly path: string;
  readonly timeoutMs: number;
  readonly bytesMax: number;
}

export function probeJson({ address, path, timeoutMs, bytesMax }: ProbeTarget): Promise<ProbeOutcome> {
  return new Promise((resolve) => {
    const unusable = (reason: string): void => resolve({ kind: 'unusable', reason });
    const headers = { accept: 'application/json', ...('host' in address ? {} : { host: 'localhost' }) };
    const question = request({ ...address, path, headers, agent: false, signal: AbortSignal.timeout(timeoutMs) });
    question.on('error', ({ code, name }: NodeJS.ErrnoException) => {
      if (code === 'ECONNREFUSED' || code === 'ENOENT') resolve({ kind: 'refused' });
      else unusable(name === 'AbortError' ? `no answer in ${timeoutMs} ms` : (code ?? name));
    });
    question.on('response', (answer) => {
      if (answer.statusCode !== 200) {
        unusable(`status ${answer.statusCode}`);
        question.destroy();
        return;
      }
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on('error', ({ name }) => unusable(name === 'AbortError' ? `no answer in ${timeoutMs} ms` : name));
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes <= bytesMax) {
          chunks.push(chunk);
          return;
        }
        unusable(`answer longer than ${bytesMax} bytes`);
        question.destroy();
      });
      answer.on('end', () => {
        try {
          resolve({ kind: 'json', body: JSON.parse(Buffer.concat(chunks).toString()) });
        } catch {
          unusable('not JSON');
        }
      });
    });
    question.end();
  });
}
