/**
 * Notices when the server behind a connection is another than before: restarted, or a replica that was promoted.
 * Such a server may have lost the newest writes, so whatever is known of them in memory is no longer true.
 *
 * 1. From the loss of a link until the server behind the next one is known, no command passes.
 * 2. Those who listen are told before the first command passes.
 */
import type { Redis } from 'ioredis';
import { RedisUnusableError } from '../protocol/errors.ts';

export interface ServerWatch {
  /** Undefined while the server is known. Else resolves when it is, or rejects with RedisUnusableError while there is no link. (1) */
  unknown(): Promise<void> | undefined;
  onReset(told: () => void): void;
}

/** What is known of the server at the other end. */
type Knowledge = { readonly kind: 'known' } | { readonly kind: 'linkLost' } | { readonly kind: 'asking'; readonly answered: Promise<void> };

/** Watches a connected client for as long as it lives. */
export async function watchServer(client: Redis): Promise<ServerWatch> {
  const listeners: (() => void)[] = [];
  let knowledge: Knowledge = { kind: 'known' };
  let server = await runIdOf(client);

  const ask = async (): Promise<void> => {
    const found = await runIdOf(client).catch(unusable);
    if (found === '' || found !== server) for (const told of listeners) told(); // (2)
    server = found;
    knowledge = { kind: 'known' };
  };
  client.on('close', () => (knowledge = { kind: 'linkLost' }));
  client.on('ready', () => {
    const answered = ask();
    answered.catch(() => undefined); // the link broke again: the next one is asked
    knowledge = { kind: 'asking', answered };
  });
  return {
    unknown() {
      switch (knowledge.kind) {
        case 'known':
          return undefined;
        case 'asking':
          return knowledge.answered;
        case 'linkLost':
          return Promise.reject(new RedisUnusableError('The link to Redis is lost. It is being restored; try again.'));
      }
    },
    onReset: (told) => void listeners.push(told),
  };
}

function unusable(cause: unknown): never {
  throw new RedisUnusableError(`Redis could not tell which server it is: ${(cause as Error).message}`, { cause });
}

/** Empty where the server does not tell: then every new link counts as a new server. Rejects when the link breaks. */
async function runIdOf(client: Redis): Promise<string> {
  const info = await client.info('server').catch((error: Error) => {
    if (error.message.startsWith('NOPERM')) return '';
    throw error;
  });
  return /^run_id:(\w+)/m.exec(info)?.[1] ?? '';
}
