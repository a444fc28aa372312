/**
 * Where jobs get their ids from.
 *
 * 1. A new id is 16 characters of base 62: 7 of the time in ms, so that ids sort by age, and 9 of chance (53 bits).
 * 2. An id made of a key is the same for the same parts, whoever asks and whenever: that is what makes two submissions one job.
 */
import { createHash, randomBytes } from 'node:crypto';

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const TIME_DIGITS = 7;
const CHANCE_DIGITS = 9;
/** Bytes from here on would prefer the first digits. */
const FAIR_BYTES = 248;
/** Asked of the system at once: a call for each id would cost more than the id. */
const POOL_BYTES = 4_096;
/** 132 bits: nobody finds two keys with one id. */
const KEY_DIGITS = 22;

export interface JobIdParts {
  /** Wall clock, ms since the epoch. */
  readonly now: () => number;
  /** Default: the system's. */
  readonly random?: (bytes: number) => Uint8Array;
}

/** Makes new ids. (1) */
export function jobIdSource({ now, random = randomBytes }: JobIdParts): () => string {
  let pool: Uint8Array = new Uint8Array(0);
  let used = 0;
  const digit = (): string => {
    for (;;) {
      if (used === pool.length) {
        pool = random(POOL_BYTES);
        used = 0;
      }
      const byte = pool[used++] as number;
      if (byte < FAIR_BYTES) return DIGITS[byte % DIGITS.length] as string;
    }
  };
  let time = -1;
  let prefix = '';
  return () => {
    const ms = now();
    if (ms !== time) {
      time = ms;
      prefix = digitsOf(ms);
    }
    let id = prefix;
    for (let index = 0; index < CHANCE_DIGITS; index++) id += digit();
    return id;
  };
}

/** The id that belongs to these parts. (2) */
export function jobIdOf(...parts: readonly (string | number | null)[]): string {
  return `k${createHash('sha256').update(JSON.stringify(parts)).digest('base64url').slice(0, KEY_DIGITS)}`;
}

function digitsOf(ms: number): string {
  let rest = Math.max(0, Math.floor(ms));
  let text = '';
  for (let index = 0; index < TIME_DIGITS; index++) {
    text = (DIGITS[rest % DIGITS.length] as string) + text;
    rest = Math.floor(rest / DIGITS.length);
  }
  return text;
}
