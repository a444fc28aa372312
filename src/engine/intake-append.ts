/**
 * From what a list or a channel brought to the inboxes of the actors, or to the dead letters.
 *
 * 1. Resolves when all of it is stored. What could not be stored now is an error, and all of it may be brought again: items that
 *    have a dedupe id are appended once.
 */
import { EXCERPT_LENGTH, type DeadLetter } from '../protocol/dead-letter.ts';
import type { Envelope, EventSource } from '../protocol/envelope.ts';
import { CastellanError } from '../protocol/errors.ts';
import type { ReadMessage, RejectedEntry } from '../protocol/source.ts';
import type { EngineStore } from './ports.ts';

export interface IntakeItem {
  /** Names the item in a dead letter. */
  readonly ref: string;
  readonly text: string;
  readonly dedupeId?: string;
  readonly decode: (text: string) => ReadMessage;
}

export type IntakeStore = Pick<EngineStore, 'append' | 'reject' | 'time'>;

export async function appendItems(store: IntakeStore, source: EventSource, items: readonly IntakeItem[]): Promise<void> {
  const envelopes: Envelope[] = [];
  const asked: IntakeItem[] = [];
  const refused: [item: IntakeItem, why: Omit<RejectedEntry, 'ok' | 'excerpt'>, excerpt: string][] = [];
  for (const item of items) {
    const read = decoded(item);
    if (read.ok === 'ignored') continue;
    if (!read.ok) {
      refused.push([item, read, read.excerpt]);
      continue;
    }
    const dedupeId = read.dedupeId ?? item.dedupeId;
    envelopes.push({ actor: read.actor, event: read.event, source, ...(dedupeId === undefined ? {} : { dedupeId }) });
    asked.push(item);
  }
  const results = envelopes.length === 0 ? [] : await store.append(envelopes);
  for (const [index, item] of asked.entries()) {
    const result = results[index] ?? new Error('The store answered fewer appends than it was given.');
    if (!(result instanceof Error)) continue;
    if (!(result instanceof CastellanError) || result.retryable) throw result; // (1)
    const { code, message: reason, field } = result;
    refused.push([item, { code, reason, ...(field === undefined ? {} : { field }) }, item.text.slice(0, EXCERPT_LENGTH)]);
  }
  if (refused.length === 0) return;
  const at = await store.time();
  await store.reject(
    refused.map(([{ ref }, { code, reason, field }, excerpt]) => {
      const letter: Omit<DeadLetter, 'id'> = { at, source, ref, code, reason, ...(field === undefined ? {} : { field }), excerpt };
      return JSON.stringify(letter);
    }),
  );
}

/** A contract does not throw; one that does must not stop what comes after. */
function decoded({ text, decode }: IntakeItem): ReadMessage {
  try {
    return decode(text);
  } catch (error) {
    return { ok: false, code: 'decode_threw', reason: `It could not be read: ${(error as Error).message}`, excerpt: text.slice(0, EXCERPT_LENGTH) };
  }
}
