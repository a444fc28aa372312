/**
 * One bounded question to a server on this machine.
 *
 * 1. Loopback only, no redirects, at most {@link PROBE_TIMEOUT_MS} and {@link PROBE_BYTES_MAX}.
 * 2. Whatever else answers on the port is an outcome, not an error.
 */
import { request } from 'node:http';

/** A local server that needs longer is not serving. */
export const PROBE_TIMEOUT_MS = 1_000;
/** Ollama writes some 400 bytes a model: room for hundreds. */
export const PROBE_BYTES_MAX = 256 * 1024;

export type ProbeOutcome =
  { readonly kind: 'json'; readonly body: unknown } | { readonly kind: 'refused' } | { readonly kind: 'unusable'; readonly reason: string };

export function probeJson(port: number, path: string): Promise<ProbeOutcome> {
  return new Promise((resolve) => {
    const unusable = (reason: string): void => resolve({ kind: 'unusable', reason });
    const question = request({
      host: '127.0.0.1',
      port,
      path,
      agent: false,
      signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
      headers: { accept: 'application/json' },
    });
    question.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNREFUSED' ? resolve({ kind: 'refused' }) : unusable(error.name)));
    question.on('response', (answer) => {
      if (answer.statusCode !== 200) {
        unusable(`status ${answer.statusCode}`);
        question.destroy();
        return;
      }
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on('error', (error) => unusable(error.name));
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes <= PROBE_BYTES_MAX) {
          chunks.push(chunk);
          return;
        }
        unusable('too long');
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
