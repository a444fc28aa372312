/** Which organisation an actor belongs to: a node by its context, a fleet by its id, any other to none. */
import type { ActorReader } from '../engine/read-ports.ts';
import { idOf, typeOf, type ActorKey } from '../protocol/ids.ts';
import type { ActorRecord } from '../protocol/record.ts';
import { decodeRecord } from '../protocol/stored-record.ts';

/** Remembered, so that following a busy fleet does not read each node again. */
const REMEMBERED_MAX = 10_000;
/** A node seldom changes its organisation; after so many looks it is read again. */
const LOOKS_MAX = 1_000;

export class Organisations {
  readonly #reader: Pick<ActorReader, 'getActor'>;
  readonly #remembered = new Map<ActorKey, { readonly org: string | null; looks: number }>();

  constructor(reader: Pick<ActorReader, 'getActor'>) {
    this.#reader = reader;
  }

  ofRecord(key: ActorKey, record: ActorRecord): string | null {
    switch (typeOf(key)) {
      case 'fleet':
        return idOf(key);
      case 'node': {
        const { context } = record.snapshot as { context?: { org?: string } };
        return context?.org ?? null;
      }
      default:
        return null;
    }
  }

  async of(key: ActorKey): Promise<string | null> {
    if (typeOf(key) !== 'node') return typeOf(key) === 'fleet' ? idOf(key) : null;
    const known = this.#remembered.get(key);
    if (known !== undefined && known.looks++ < LOOKS_MAX) return known.org;
    const view = await this.#reader.getActor(key);
    const org = view === undefined ? null : this.ofRecord(key, decodeRecord(view.record));
    if (this.#remembered.size >= REMEMBERED_MAX) this.#remembered.clear();
    this.#remembered.set(key, { org, looks: 0 });
    return org;
  }
}
