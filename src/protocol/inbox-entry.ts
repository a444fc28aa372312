/**
 * The fields of an entry in a partition's inbox stream.
 *
 * The first pair is the actor's address and the event's JSON; what is not there is not needed: every string costs when
 * an entry is read, and most entries have these two alone. The other pairs have one-letter names:
 * `s` source (absent: library), `d` dedupe id, `c` causation, `t` trace parent, `r` reply channel;
 * a message between actors also has `f`, the partition it came from, and `n`, its number there.
 */
import type { Envelope, EventSource } from './envelope.ts';
import { millisecondsOf, type ActorKey } from './ids.ts';

/** Larger events are refused before they are stored: one event must fit well inside a batch. Bytes of JSON. */
export const EVENT_BYTES_MAX = 1_048_576;

const DEFAULT_SOURCE: EventSource = 'library';

/** `event` is the envelope's event as JSON. */
export function encodeInboxEntry(envelope: Envelope, event: string, numbered?: { readonly from: number; readonly number: number }): string[] {
  const fields: string[] = [envelope.actor, event];
  if (envelope.source !== DEFAULT_SOURCE) fields.push('s', envelope.source);
  if (envelope.dedupeId !== undefined) fields.push('d', envelope.dedupeId);
  if (envelope.causation !== undefined) fields.push('c', envelope.causation);
  if (envelope.traceparent !== undefined) fields.push('t', envelope.traceparent);
  if (envelope.replyTo !== undefined) fields.push('r', envelope.replyTo);
  if (numbered) fields.push('f', String(numbered.from), 'n', String(numbered.number));
  return fields;
}

/** An inbox entry as the engine reads it. What is missing is left empty and refused when the entry is applied. */
export class InboxItem {
  readonly id: string;
  readonly ms: number;
  readonly key: ActorKey;
  /** JSON, not parsed yet. */
  readonly event: string;
  source: EventSource = DEFAULT_SOURCE;
  causation: string | undefined = undefined;
  traceparent: string | undefined = undefined;
  replyTo: string | undefined = undefined;
  /** For a message of another partition: its partition and number there. */
  from: number | undefined = undefined;
  number: number | undefined = undefined;

  constructor(id: string, key: string, event: string) {
    this.id = id;
    this.ms = millisecondsOf(id);
    this.key = key as ActorKey;
    this.event = event;
  }
}

export function decodeInboxEntry(id: string, fields: readonly string[]): InboxItem {
  const item = new InboxItem(id, fields[0] ?? '', fields[1] ?? '');
  for (let index = 2; index + 1 < fields.length; index += 2) assign(item, fields[index] as string, fields[index + 1] as string);
  return item;
}

function assign(item: InboxItem, field: string, value: string): void {
  switch (field) {
    case 's':
      item.source = value as EventSource;
      return;
    case 'c':
      item.causation = value;
      return;
    case 't':
      item.traceparent = value;
      return;
    case 'r':
      item.replyTo = value;
      return;
    case 'f':
      item.from = Number(value);
      return;
    case 'n':
      item.number = Number(value);
      return;
    default:
      return;
  }
}
