/**
 * The fields of an entry in a partition's inbox stream. Names are one letter because an inbox holds millions.
 *
 * `a` actor, `e` event (JSON), `s` source, `d` dedupe id, `c` causation, `t` trace parent, `r` reply channel;
 * a message between actors also has `f`, the partition it came from, and `n`, its number there.
 */
import type { Envelope, EventSource } from './envelope.ts';
import { millisecondsOf, type ActorKey } from './ids.ts';

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

/** An inbox entry as the engine reads it. */
export interface InboxItem {
  readonly id: string;
  readonly ms: number;
  readonly key: ActorKey;
  /** JSON, not parsed yet. */
  readonly event: string;
  readonly source: EventSource;
  readonly causation?: string;
  readonly traceparent?: string;
  readonly replyTo?: string;
  /** For a message of another partition: its partition and number there. */
  readonly from?: number;
  readonly number?: number;
}

interface Draft {
  key: string;
  event: string;
  source: string;
  causation?: string;
  traceparent?: string;
  replyTo?: string;
  from?: number;
  number?: number;
}

/** The entry as the engine reads it; what is missing is left empty and refused when the entry is applied. */
export function decodeInboxEntry(id: string, fields: readonly string[]): InboxItem {
  const draft: Draft = { key: '', event: '', source: 'library' };
  for (let index = 0; index + 1 < fields.length; index += 2) assign(draft, fields[index] as string, fields[index + 1] as string);
  return { id, ms: millisecondsOf(id), ...(draft as Draft & { key: ActorKey; source: EventSource }) };
}

function assign(draft: Draft, field: string, value: string): void {
  switch (field) {
    case 'a':
      draft.key = value;
      return;
    case 'e':
      draft.event = value;
      return;
    case 's':
      draft.source = value;
      return;
    case 'c':
      draft.causation = value;
      return;
    case 't':
      draft.traceparent = value;
      return;
    case 'r':
      draft.replyTo = value;
      return;
    case 'f':
      draft.from = Number(value);
      return;
    case 'n':
      draft.number = Number(value);
      return;
    default:
      return;
  }
}
