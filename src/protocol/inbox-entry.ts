/**
 * The fields of an entry in a partition's inbox stream. Names are one letter because an inbox holds millions.
 *
 * `a` actor, `e` event (JSON), `s` source, `d` dedupe id, `c` causation, `t` trace parent, `r` reply channel;
 * a message between actors also has `f`, the partition it came from, and `n`, its number there.
 */
import type { Envelope } from './envelope.ts';

/** Larger events are refused before they are stored: one event must fit well inside a batch. Bytes of JSON. */
export const EVENT_BYTES_MAX = 1_048_576;

/** `event` is the envelope's event as JSON. */
export function encodeInboxEntry(envelope: Envelope, event: string, numbered?: { readonly from: number; readonly number: number }): string[] {
  const fields: string[] = ['a', envelope.actor, 'e', event, 's', envelope.source];
  if (envelope.dedupeId !== undefined) fields.push('d', envelope.dedupeId);
  if (envelope.causation !== undefined) fields.push('c', envelope.causation);
  if (envelope.traceparent !== undefined) fields.push('t', envelope.traceparent);
  if (envelope.replyTo !== undefined) fields.push('r', envelope.replyTo);
  if (numbered) fields.push('f', String(numbered.from), 'n', String(numbered.number));
  return fields;
}
