/**
 * The entry that a message to an outlet becomes. Nothing in a commit may fail once it has begun to write, so what Redis could not append
 * does not get that far.
 */
import type { MessageCommand } from '../protocol/command.ts';
import { idOf, type ActorKey } from '../protocol/ids.ts';
import type { Outlet, OutletEntry } from '../protocol/outlet.ts';

/** Fields and values of one entry. */
const VALUES_MAX = 1_000;

/** Why there is none, is told about the machine or the outlet: it is a bug of theirs. */
export type MadeEntry = { readonly ok: true; readonly entry: OutletEntry } | { readonly ok: false; readonly reason: string };

/** `at`: step time, ms. */
export function makeEntry(outlet: Outlet, from: ActorKey, { to, event }: MessageCommand, at: number): MadeEntry {
  let entry: OutletEntry | undefined;
  try {
    entry = outlet.encode(idOf(to), event, from, at);
  } catch (error) {
    return { ok: false, reason: `The outlet "${outlet.type}" could not encode the event "${event.type}": ${(error as Error).message}` };
  }
  if (entry === undefined) return { ok: false, reason: `The outlet "${outlet.type}" has no entry for the event "${event.type}".` };
  const fault = faultOf(entry);
  if (fault === undefined) return { ok: true, entry };
  return { ok: false, reason: `The entry that the outlet "${outlet.type}" made of the event "${event.type}" ${fault}.` };
}

function faultOf({ stream, fields }: OutletEntry): string | undefined {
  if (typeof stream !== 'string' || stream === '') return 'names no stream';
  if (fields.length === 0 || fields.length % 2 === 1) return `has ${fields.length} values; a value for each field is needed, and one field at the least`;
  if (fields.length > VALUES_MAX) return `has ${fields.length} values; at most ${VALUES_MAX} are taken`;
  return fields.every((field) => typeof field === 'string') ? undefined : 'has a value that is no text';
}
