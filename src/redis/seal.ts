/**
 * What a channel of ours says beyond "look" is sealed: whoever may only publish there cannot make it, and what another database of the same
 * server says (channels are common to all of them) is not taken for ours. What cannot be opened is still a reason to look.
 *
 * 1. The seal is a hash of the text between a secret that lies beside the data; the Functions make it (common.lua).
 * 2. Where the secret is missing (the data were flushed, a user may not read it) nothing is sealed, and nothing can be opened.
 */
import { hash, randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Keys } from './keys.ts';

/** The text of a sealed message; undefined for any other. */
export type OpenSealed = (message: string) => string | undefined;

const SEAL_LENGTH = 40;
const SECRET_BYTES = 16;

/** Makes the secret where there is none yet. */
export async function takeSeal(client: Redis, keys: Pick<Keys, 'secret'>): Promise<OpenSealed> {
  // A user who may only read, or a full Redis, makes none.
  await client.set(keys.secret, randomBytes(SECRET_BYTES).toString('hex'), 'NX').catch(() => undefined);
  const secret = await client.get(keys.secret).catch(() => null);
  return secret === null ? () => undefined : (message) => opened(secret, message);
}

function opened(secret: string, message: string): string | undefined {
  if (message.length <= SEAL_LENGTH) return undefined;
  const text = message.slice(SEAL_LENGTH);
  return hash('sha1', secret + text + secret) === message.slice(0, SEAL_LENGTH) ? text : undefined;
}

/** The text of a message that may be sealed by somebody else: a hint, no more. */
export function hintIn(message: string): string {
  return /^[0-9a-f]{40}/.test(message) ? message.slice(SEAL_LENGTH) : message;
}
