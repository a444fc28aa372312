/**
 * An actor type as the engine runs it: what the kernel knows, and the executors and publishers of its host.
 */
import { isIndexed, type RegisteredType } from '../core/kernel.ts';
import type { ActorRecord, Transition } from '../protocol/record.ts';
import type { ActorKey } from '../protocol/ids.ts';
import type { Executor } from '../protocol/command.ts';
import { InvalidSettingError, MissingExecutorError, UnknownActorTypeError } from '../protocol/errors.ts';
import type { Outlet } from '../protocol/outlet.ts';

export interface HostedType {
  readonly registered: RegisteredType;
  /** By effect name: one for each of the definition's `effects`. */
  readonly executors: { readonly [effect: string]: Executor };
  /**
   * Where a changed document is told with its commit, best effort, newest wins: the channel, and how many bytes are left
   * out at the document's beginning and end. Undefined: nowhere.
   */
  readonly publishDocument?: (
    key: ActorKey,
    document: string,
    record: ActorRecord,
  ) => { readonly channel: string; readonly skip: number; readonly drop: number } | undefined;
  readonly retention?: { readonly maxBytes: number; readonly maxAgeMs: number };
  /**
   * Tells every transition on a pub/sub channel with its commit, best effort and in the order of each actor: messages are made only
   * while somebody listens. Must be pure and must not throw.
   */
  readonly announce?: { readonly channel: string; message(transition: Transition): readonly string[] };
  /** Atomic states: an actor that a commit brings into one of them is told, as it is stored, to those who wait for it. See Arrivals. */
  readonly arrivals?: readonly string[];
  /**
   * For how long actors are kept in an atomic state, and how many of them in all partitions together; the oldest go first, and only
   * while no invocation runs and no timer is armed. Their journal stays until the feed is trimmed. An address that is used again
   * begins anew at revision 1, and the keys of its commands may then be those of its former life.
   */
  readonly keep?: { readonly [statePath: string]: KeepLimits };
}

export interface KeepLimits {
  readonly maxAgeMs: number;
  readonly maxCount: number;
}

export class HostedTypes {
  readonly #types = new Map<string, HostedType>();
  readonly #outlets = new Map<string, Outlet>();

  /** Throws MissingExecutorError, and InvalidSettingError for a state that cannot be kept by or an outlet whose name is taken. */
  constructor(types: readonly HostedType[], outlets: readonly Outlet[] = []) {
    for (const hosted of types) {
      for (const path of Object.keys(hosted.keep ?? {})) checkKept(hosted.registered, path);
      const { type, effects = [] } = hosted.registered.definition;
      for (const effect of effects) {
        if (hosted.executors[effect] !== undefined) continue;
        throw new MissingExecutorError(type, effect);
      }
      this.#types.set(type, hosted);
    }
    for (const outlet of outlets) {
      if (this.#types.has(outlet.type) || this.#outlets.has(outlet.type)) throw new InvalidSettingError('outlets', `names "${outlet.type}", which is taken.`);
      this.#outlets.set(outlet.type, outlet);
    }
  }

  /** Where messages for that type leave the engine; undefined for an actor type. */
  outlet(type: string): Outlet | undefined {
    return this.#outlets.get(type);
  }

  get names(): readonly string[] {
    return [...this.#types.keys()];
  }

  get all(): Iterable<HostedType> {
    return this.#types.values();
  }

  get(type: string): HostedType | undefined {
    return this.#types.get(type);
  }

  /** Throws {@link UnknownActorTypeError}. */
  require(type: string): HostedType {
    const hosted = this.#types.get(type);
    if (hosted === undefined) throw new UnknownActorTypeError(type, this.names);
    return hosted;
  }
}

/** The sweep finds actors by the index of their state. */
function checkKept(registered: RegisteredType, path: string): void {
  const setting = `keep.${path}`;
  if (![...registered.machine.atomicPaths.values()].includes(path)) throw new InvalidSettingError(setting, `is no atomic state of "${registered.type}".`);
  if (!isIndexed(registered, path)) throw new InvalidSettingError(setting, `is not indexed: take it out of "unindexed" of "${registered.type}".`);
}
