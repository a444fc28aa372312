/**
 * The names of all keys in Redis.
 *
 * 1. All keys of a partition share the hash tag `{p<N>}`, so that one Function may write them all on a Cluster.
 * 2. Ids and types were checked before they came here and hold no braces: nothing from outside can change a tag.
 */
import { InvalidSettingError } from '../protocol/errors.ts';
import { PARTITION_COUNT } from '../protocol/ids.ts';

export const DEFAULT_PREFIX = 'castellan';
const PREFIX = /^[A-Za-z0-9._:-]{1,64}$/;

export interface PartitionKeys {
  /** Hash: owner, epoch, until (lease), commit, time, inbox, `source:<stream>`, `applied:<p>`, `sent:<p>`. */
  readonly meta: string;
  /** Stream of envelopes. */
  readonly inbox: string;
  /** Hash: actor → JSON of its record. */
  readonly records: string;
  /** Hash: actor → JSON of its document. */
  readonly documents: string;
  /** Sorted sets: `<actor> <timer key>` by due time. */
  readonly timers: string;
  readonly liveness: string;
  /** Stream: one pack of commands per commit, id = commit id. */
  readonly outbox: string;
  /** Hash: delivery key → retry. */
  readonly retries: string;
  /** Set of actors with a running invocation. */
  readonly invoking: string;
  /** Stream of dead letters. */
  readonly dead: string;
  /** Hash: dedupe id → entry id, and the same ids as a list in the order of their arrival. */
  readonly dedupe: string;
  readonly dedupeOrder: string;
  /** Sharded pub/sub channel that rings when something was appended. */
  readonly bell: string;
  /** Stream: one pack of transitions per commit, id = commit id. */
  feed(type: string): string;
  /** Sorted set: actors in that atomic state by the time they entered it; the empty path holds all actors of the type by creation. */
  index(type: string, statePath: string): string;
}

export interface UserKeys {
  /** Stream of the events for a user's sockets. */
  readonly events: string;
  /** Hash: `last` and `gone` (ids of that stream), `at` (up to where some socket has them), `claim`, `upTo`, `until` (a socket that is being given what waited). */
  readonly reached: string;
  /** Sorted set: sockets by the time until which they are taken to live. */
  readonly sockets: string;
}

/**
 * `user`: a user code's device. `device`: hash of an open enrolment: `interval`, `polled` (ms), `redeemed`. `token`: whom it speaks for (JSON).
 * `tokens`: hash of a device's tokens: `present`, `former`. `node`: the device that has the name. `machine`: its newest approved device.
 */
export type EnrolmentKey = 'user' | 'device' | 'token' | 'tokens' | 'node' | 'machine';

export interface Keys {
  readonly prefix: string;
  partition(partition: number): PartitionKeys;
  /** The form of the stored data; see format.ts. */
  readonly format: string;
  /** Pub/sub channel on which actors of the type are told that came into a state which others wait for: address, record and document, a line each. */
  arrivals(type: string): string;
  /** Text that shows who may read our keys; see seal.ts. */
  readonly secret: string;
  /** Stream of pack addresses in the order that subscribers see. */
  readonly cursor: string;
  /** Sharded pub/sub channel that rings when something was appended to a source stream by one of us. */
  readonly sourcesBell: string;
  /** Pub/sub channel that rings when another worker came upon an entry for this node. */
  nodeBell(nodeId: string): string;
  /** The lease of whoever reads a channel of another system. */
  reader(channel: string): string;
  /** Pub/sub channel of one waiting sender. */
  reply(id: string): string;
  user(userId: string): UserKeys;
  /** Pub/sub channel that rings with a user's id when there is an event for them. */
  readonly usersBell: string;
  /** Hash: what was told of a rebalance job: `pushed`, `told`, `newest` (orders), `created`. */
  rebalance(jobId: string): string;
  /** Enrolments, by kind and by a hash or an id: one slot, for there are few and several change together. */
  enrolment(kind: EnrolmentKey, name: string): string;
  /** Pub/sub channel that rings with the id of a device that was revoked. */
  readonly devicesBell: string;
  /** The first value given for a name that a caller chose, such as an Idempotency-Key. */
  first(name: string): string;
}

/** Throws InvalidSettingError for a prefix that could change a hash tag. */
export function createKeys(prefix: string = DEFAULT_PREFIX): Keys {
  if (!PREFIX.test(prefix)) throw new InvalidSettingError('prefix', `must match ${PREFIX.source}.`);
  const partitions = Array.from({ length: PARTITION_COUNT }, (_, partition) => partitionKeys(prefix, partition));
  return {
    prefix,
    partition(partition) {
      const keys = partitions[partition];
      if (!keys) throw new RangeError(`There is no partition ${partition}.`);
      return keys;
    },
    format: `${prefix}:format`,
    arrivals: (type) => `${prefix}:arrivals:${type}`,
    secret: `${prefix}:secret`,
    cursor: `${prefix}:{cursor}:packs`,
    sourcesBell: `${prefix}:bell:sources`,
    nodeBell: (nodeId) => `${prefix}:bell:node:${nodeId}`,
    reader: (channel) => `${prefix}:reader:${channel}`,
    reply: (id) => `${prefix}:reply:${id}`,
    user: (userId) => userKeys(prefix, userId),
    usersBell: `${prefix}:bell:users`,
    rebalance: (jobId) => `${prefix}:rebalance:{${jobId}}`,
    enrolment: (kind, name) => `${prefix}:{enrol}:${kind}:${name}`,
    devicesBell: `${prefix}:bell:devices`,
    first: (name) => `${prefix}:first:{${name}}`,
  };
}

function partitionKeys(prefix: string, partition: number): PartitionKeys {
  const base = `${prefix}:{p${partition}}:`;
  return {
    meta: `${base}meta`,
    inbox: `${base}inbox`,
    records: `${base}records`,
    documents: `${base}documents`,
    timers: `${base}timers`,
    liveness: `${base}liveness`,
    outbox: `${base}outbox`,
    retries: `${base}retries`,
    invoking: `${base}invoking`,
    dead: `${base}dead`,
    dedupe: `${base}dedupe`,
    dedupeOrder: `${base}dedupe:order`,
    bell: `${base}bell`,
    feed: (type) => `${base}feed:${type}`,
    index: (type, statePath) => `${base}index:${type}:${statePath}`,
  };
}

/** A user's id is any text of a token, so it is encoded: no brace of it can change the tag. */
function userKeys(prefix: string, userId: string): UserKeys {
  const base = `${prefix}:user:{${encodeURIComponent(userId.toWellFormed())}}:`;
  return { events: `${base}events`, reached: `${base}reached`, sockets: `${base}sockets` };
}

/** Member of a timer set. An actor's address holds no space, so the first one ends it. */
export function timerMember(actor: string, timerKey: string): string {
  return `${actor} ${timerKey}`;
}
