/**
 * How a pack of transitions lies in the feed: as its JSON, or, when it is long enough to gain by it, deflated.
 *
 * Transitions of one commit repeat one another: 16 of them shrink to a tenth, at about 1 µs each. Base64 costs a third of what is
 * left and lets the pack travel as text, like every other argument of a commit.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';

/** Shorter packs, of one or two transitions, gain little and would pay the call. Characters. */
const DEFLATED_FROM = 1_024;
/** Before base64; JSON never begins with it. */
const DEFLATED = 'z';
/** What a damaged pack may grow to. Bytes; a commit takes in about 1 MiB. */
const INFLATED_BYTES_MAX = 64 * 1_048_576;

export function packToText(pack: string): string {
  return pack.length < DEFLATED_FROM ? pack : DEFLATED + deflateRawSync(pack, { level: 1 }).toString('base64');
}

/** What cannot be inflated is given back as it lies there: it reads as no pack, and whoever decodes it says so. */
export function packFromText(text: string): string {
  if (!text.startsWith(DEFLATED)) return text;
  try {
    return inflateRawSync(Buffer.from(text.slice(1), 'base64'), { maxOutputLength: INFLATED_BYTES_MAX }).toString();
  } catch {
    return text;
  }
}
