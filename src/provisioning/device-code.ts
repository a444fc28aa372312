/**
 * The codes of an enrolment (RFC 8628) and what is kept of them.
 *
 * 1. A device's id is made of its code by a one-way function, so the code is recognised and never kept.
 * 2. Codes and tokens are of high entropy, so a plain SHA-256 is enough; a user code lives for minutes, and its tries are limited.
 */
import { createHash } from 'node:crypto';

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
/** 100 bits: no two devices share an id. */
const DEVICE_ID_LENGTH = 20;
/** No vowels, so that no code is a word; no digits, so that none is taken for a letter (RFC 8628, 6.1). */
export const USER_CODE_ALPHABET = 'BCDFGHJKLMNPQRSTVWXZ';
export const USER_CODE_LENGTH = 8;
const USER_CODE = new RegExp(`^[${USER_CODE_ALPHABET}]{${USER_CODE_LENGTH}}$`);

/** The first 20 characters of the code's SHA-256 in lower-case base32 (RFC 4648, without padding). */
export function deviceIdOf(deviceCode: string): string {
  const hash = createHash('sha256').update(deviceCode).digest();
  let bits = 0;
  let held = 0;
  let text = '';
  for (const byte of hash) {
    held = (held << 8) | byte;
    bits += 8;
    while (bits >= 5 && text.length < DEVICE_ID_LENGTH) {
      bits -= 5;
      text += BASE32[(held >> bits) & 31];
    }
    held &= (1 << bits) - 1;
  }
  return text;
}

/** What is kept of a secret: hexadecimal SHA-256. */
export function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

/** The letters of a user code as a person typed it: case, dashes and spaces do not matter. Undefined when it cannot be one. */
export function readUserCode(typed: string): string | undefined {
  if (typed.length > 64) return undefined;
  const letters = typed.toUpperCase().replaceAll(/[\s-]/g, '');
  return USER_CODE.test(letters) ? letters : undefined;
}

/** As it is shown: `XXXX-XXXX`. */
export function shownUserCode(letters: string): string {
  return `${letters.slice(0, 4)}-${letters.slice(4)}`;
}
