/**
 * Names of things that cross a boundary: actors, partitions, positions.
 *
 * 1. An id is checked where it enters; inside, a branded string is trusted.
 * 2. No id contains `{`, `}`, `/`, a space or a control character, so no id can change a Redis
 *    key's hash tag or the boundary between a type and an id.
 */
import { InvalidIdError } from './errors.ts';

/** How many shards a data set has. Fixed at its creation: an actor's partition is a hash modulo this. */
export const PARTITION_COUNT = 64;

const ACTOR_TYPE = /^[a-z][a-z0-9-]{0,31}$/;
const ACTOR_ID = /^[A-Za-z0-9._:@-]{1,128}$/;

/** An actor's address, `type/id`, for example `node/gpu-1`. */
export type ActorKey = `${string}/${string}`;

/** Checks and joins the two halves of an address. Throws {@link InvalidIdError} naming the half. */
export function actorKey(type: string, id: string): ActorKey {
  if (!ACTOR_TYPE.test(type)) throw new InvalidIdError('type', type, ACTOR_TYPE);
  if (!ACTOR_ID.test(id)) throw new InvalidIdError('id', id, ACTOR_ID);
  return `${type}/${id}`;
}

/** Splits and checks an address that came from outside. Throws {@link InvalidIdError}. */
export function parseActorKey(key: string): { readonly type: string; readonly id: string } {
  const slash = key.indexOf('/');
  const type = slash < 0 ? key : key.slice(0, slash);
  const id = slash < 0 ? '' : key.slice(slash + 1);
  actorKey(type, id);
  return { type, id };
}

/** The type half of an address that was checked before. */
export function typeOf(key: ActorKey): string {
  return key.slice(0, key.indexOf('/'));
}

/** The id half of an address that was checked before. */
export function idOf(key: ActorKey): string {
  return key.slice(key.indexOf('/') + 1);
}

/** The partition of an actor: FNV-1a (32 bit) of its address, modulo {@link PARTITION_COUNT}. */
export function partitionOf(key: ActorKey): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < key.length; index++) {
    hash ^= key.charCodeAt(index);
    hash = Math.imul(hash, 0x01000193);
  }
  return (hash >>> 0) % PARTITION_COUNT;
}

/** The milliseconds of a Redis stream id, `<ms>-<sequence>`. */
export function millisecondsOf(entryId: string): number {
  const dash = entryId.indexOf('-');
  return Number(dash < 0 ? entryId : entryId.slice(0, dash));
}

/** Orders two stream ids as Redis does: by milliseconds, then by sequence. */
export function compareEntryIds(left: string, right: string): number {
  const difference = millisecondsOf(left) - millisecondsOf(right);
  if (difference !== 0) return difference;
  return Number(left.slice(left.indexOf('-') + 1)) - Number(right.slice(right.indexOf('-') + 1));
}

/** The position before the first entry of any stream. */
export const STREAM_START = '0-0';
