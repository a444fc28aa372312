/**
 * An actor type as the engine runs it: what the kernel knows, and the executors and publishers of its host.
 */
import type { RegisteredType } from '../core/kernel.ts';
import type { ActorRecord } from '../protocol/record.ts';
import type { ActorKey } from '../protocol/ids.ts';
import type { Executor } from '../protocol/command.ts';
import { MissingExecutorError, UnknownActorTypeError } from '../protocol/errors.ts';

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
}

export class HostedTypes {
  readonly #types = new Map<string, HostedType>();

  constructor(types: readonly HostedType[]) {
    for (const hosted of types) {
      const { type, effects = [] } = hosted.registered.definition;
      for (const effect of effects) {
        if (hosted.executors[effect] !== undefined) continue;
        throw new MissingExecutorError(type, effect);
      }
      this.#types.set(type, hosted);
    }
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
