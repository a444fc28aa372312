/**
 * One actor's past: its chain of transitions in the feed, newest first, and its state after any of them.
 *
 * A transition names the address of the one before it, so a history is a walk along a chain and never a scan. What retention
 * trimmed ends the walk; the answer says so.
 */
import { fold, inspect, type RegisteredType } from '../core/kernel.ts';
import type { ActorReader } from '../engine/read-ports.ts';
import { timestamp, transitionView, type HistoryPage, type PageQuery, type PastActor } from '../protocol/control-plane.ts';
import { CursorGoneError, UnreadableHistoryError } from '../protocol/errors.ts';
import { decodePack, parseAddress } from '../protocol/feed-pack.ts';
import { idOf, typeOf, type ActorKey } from '../protocol/ids.ts';
import type { ActorRecord, Transition } from '../protocol/record.ts';

/** A transition and where it lies. */
interface Found {
  readonly address: string;
  readonly transition: Transition;
}

const ADDRESS = /^\d{1,3}:\d{1,16}-\d{1,16}:\d{1,6}$/;
/** Transitions walked to reach a past revision; beyond it the answer is `gone`. */
const WALK_MAX = 100_000;

export class History {
  readonly #reader: Pick<ActorReader, 'readPack'>;

  constructor(reader: Pick<ActorReader, 'readPack'>) {
    this.#reader = reader;
  }

  /** A page, from the newest transition or from where the last page ended. */
  async page(record: ActorRecord, key: ActorKey, { cursor, limit }: PageQuery): Promise<HistoryPage> {
    if (cursor !== undefined && !ADDRESS.test(cursor)) throw new CursorGoneError(cursor);
    const items: Transition[] = [];
    let next = cursor ?? record.head;
    for await (const { transition } of this.#walk(key, next)) {
      items.push(transition);
      next = transition.previous;
      if (items.length === limit) break;
    }
    const truncated = items.length < limit && next !== null;
    return { items: items.map(transitionView), next: truncated ? null : next, truncated };
  }

  /** The actor after one of its revisions, folded from the nearest checkpoint before it. */
  async at(type: RegisteredType, record: ActorRecord, key: ActorKey, revision: number): Promise<PastActor> {
    if (revision < 1 || revision > record.revision) return { kind: 'missing' };
    const transitions: Found[] = [];
    let checkpoint: ActorRecord | null = null;
    for await (const found of this.#walk(key, record.head)) {
      const { transition } = found;
      if (transition.revision > revision) continue;
      transitions.push(found);
      checkpoint = transition.checkpoint ?? null;
      if (checkpoint !== null || transition.revision === 1) break;
    }
    const [target] = transitions;
    const oldest = transitions[transitions.length - 1]?.transition.revision;
    // Without a checkpoint the fold begins with the first event of all.
    if (target === undefined || (checkpoint === null && oldest !== 1)) return { kind: 'gone' };
    const base = checkpoint?.revision ?? 0;
    const later = transitions.filter(({ transition }) => transition.revision > base).toReversed();
    const folded = fold(
      type,
      key,
      checkpoint,
      later.map(({ transition }) => transition),
      later.map(({ address }) => address),
    );
    if (folded.kind !== 'folded') return { kind: 'gone' };
    const { value, context, status } = inspect(type, folded.actor);
    const at = timestamp(target.transition.at);
    return { kind: 'found', actor: { type: typeOf(key), id: idOf(key), revision, at, status, value, context, record: folded.actor.record } };
  }

  /** Newest first; ends at the first transition, or where retention trimmed. */
  async *#walk(key: ActorKey, from: string | null): AsyncGenerator<Found> {
    const type = typeOf(key);
    // Neighbours in an actor's chain often lie in one pack.
    let pack: { readonly at: string; readonly transitions: readonly Transition[] } | undefined;
    for (let address = from, steps = 0; address !== null && steps < WALK_MAX; steps++) {
      const { partition, pack: id, index } = parseAddress(address);
      const at = `${partition}:${id}`;
      if (pack?.at !== at) {
        const json = await this.#reader.readPack(partition, type, id);
        if (json === null) return;
        pack = { at, transitions: readTransitions(type, json, address) };
      }
      const transition = pack.transitions[index];
      if (transition === undefined || transition.key !== key) throw new UnreadableHistoryError(address);
      yield { address, transition };
      address = transition.previous;
    }
  }
}

function readTransitions(type: string, json: string, address: string): readonly Transition[] {
  try {
    return decodePack(type, json);
  } catch {
    throw new UnreadableHistoryError(address);
  }
}
