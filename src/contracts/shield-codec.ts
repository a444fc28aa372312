/**
 * The two codecs of the JSON fields in the ingestion streams: JSON text and MessagePack (contracts 6, `SHIELD_CODEC`).
 *
 * 1. Whatever is set, both are read: MessagePack of an object or a list begins with a byte that no JSON text begins with.
 * 2. What is read is plain JSON, whichever codec it came in: a date becomes its text, what JSON cannot say becomes null.
 * 3. Fields travel as strings with one character a byte (`binary` of a stream source), so that no byte is lost on the way here.
 */
import { Packr } from 'msgpackr';
import { InvalidSettingError } from '../protocol/errors.ts';
import type { Json } from '../protocol/json.ts';

export const SHIELD_CODECS = ['json', 'msgpack'] as const;
export type ShieldCodec = (typeof SHIELD_CODECS)[number];

/** Reads `SHIELD_CODEC`; default `json`. Throws InvalidSettingError. */
export function shieldCodecFrom(env: { readonly [name: string]: string | undefined }): ShieldCodec {
  const text = env['SHIELD_CODEC'];
  if (!text) return 'json';
  const codec = SHIELD_CODECS.find((each) => each === text.toLowerCase());
  if (codec === undefined) throw new InvalidSettingError('SHIELD_CODEC', `must be one of ${SHIELD_CODECS.join(', ')}.`);
  return codec;
}

/** Plain maps as other languages write them: no records, no extensions of this library. */
const packr = new Packr({ useRecords: false, mapsAsObjects: true, variableMapSize: true, int64AsType: 'number' });

export function encodeField(value: Json, codec: ShieldCodec): string | Uint8Array {
  return codec === 'json' ? JSON.stringify(value) : packr.pack(value);
}

/** `field`: one character a byte. Undefined: it is neither JSON nor MessagePack. */
export function decodeField(field: string): Json | undefined {
  try {
    const value: unknown = isMessagePack(field) ? packr.unpack(Buffer.from(field, 'latin1')) : JSON.parse(textOf(field));
    return JSON.parse(JSON.stringify(value)) as Json; // (2)
  } catch {
    return undefined;
  }
}

/** The text of a field whose characters are its bytes. */
export function textOf(field: string): string {
  return Buffer.from(field, 'latin1').toString('utf8');
}

/** Maps and lists: 0x80–0x9f, 0xdc–0xdf. (1) */
function isMessagePack(field: string): boolean {
  const first = field.charCodeAt(0);
  return (first >= 0x80 && first <= 0x9f) || (first >= 0xdc && first <= 0xdf);
}
