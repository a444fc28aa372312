/** The whole feed of one actor type as it lies in Redis, read without the code that serves it: what a check compares with. */
import type { Redis } from 'ioredis';
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';
import { fold, registerActorType, restore, type RegisteredType } from '../../src/core/kernel.ts';
import { decodePack, formatAddress, parseAddress, type TransitionAddress } from '../../src/protocol/feed-pack.ts';
import { PARTITION_COUNT, partitionOf, type ActorKey } from '../../src/protocol/ids.ts';
import type { ActorRecord, Transition } from '../../src/protocol/record.ts';
import type { Keys } from '../../src/redis/keys.ts';
import { packFromText } from '../../src/redis/pack-text.ts';

export interface JournalEntry {
  readonly address: TransitionAddress;
  readonly transition: Transition;
}

export class Journal {
  /** In the order of each partition. */
  readonly all: readonly JournalEntry[];
  readonly byActor: ReadonlyMap<ActorKey, readonly JournalEntry[]>;
  readonly #packs: readonly (readonly string[])[];
  readonly #registered: RegisteredType;

  private constructor(registered: RegisteredType, all: readonly JournalEntry[], packs: readonly (readonly string[])[]) {
    this.#registered = registered;
    this.all = all;
    this.#packs = packs;
    const byActor = new Map<ActorKey, JournalEntry[]>();
    for (const entry of all) {
      const entries = byActor.get(entry.transition.key);
      if (entries === undefined) byActor.set(entry.transition.key, [entry]);
      else entries.push(entry);
    }
    this.byActor = byActor;
  }

  static async read(client: Redis, keys: Keys, definition: ActorTypeDefinition): Promise<Journal> {
    const all: JournalEntry[] = [];
    const packs: string[][] = [];
    for (let partition = 0; partition < PARTITION_COUNT; partition++) {
      const entries = await client.xrange(keys.partition(partition).feed(definition.type), '-', '+');
      packs.push(entries.map(([id]) => id));
      for (const [id, fields] of entries) {
        const transitions = decodePack(definition.type, packFromText(fields[5] as string));
        all.push(...transitions.map((transition, index) => ({ address: parseAddress(formatAddress(partition, id, index)), transition })));
      }
    }
    return new Journal(registerActorType(definition), all, packs);
  }

  packs(partition: number): readonly string[] {
    return this.#packs[partition] ?? [];
  }

  /** The record that is stored of the actor. */
  async stored(client: Redis, keys: Keys, key: ActorKey): Promise<ActorRecord> {
    const json = await client.hget(keys.partition(partitionOf(key)).records, key);
    if (json === null) throw new Error(`${key} is not stored.`);
    const actor = restore(this.#registered, key, json);
    if ('parked' in actor) throw new Error(`${key} is parked: ${actor.parked}`);
    return actor.record;
  }

  /** The record that the actor's transitions fold to from nothing. */
  fold(key: ActorKey): ActorRecord {
    const entries = this.byActor.get(key) ?? [];
    const folded = fold(
      this.#registered,
      key,
      null,
      entries.map(({ transition }) => transition),
      entries.map(({ address }) => formatAddress(address.partition, address.pack, address.index)),
    );
    if (folded.kind !== 'folded') throw new Error(`${key}: ${folded.reason}`);
    return folded.actor.record;
  }

  /** Key and parameters (JSON) of every effect that was committed. */
  effects(): [key: string, params: string][] {
    return this.all.flatMap(({ address, transition }) =>
      transition.commands.flatMap((command, index): [string, string][] => {
        if (command.kind !== 'effect') return [];
        const [epoch] = address.pack.split('-');
        return [[`${transition.key}#${epoch}-${transition.revision}-${index}`, JSON.stringify(command.params)]];
      }),
    );
  }
}
