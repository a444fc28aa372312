/** Folding: an actor's journal, from a checkpoint on, gives its snapshot (I2). */
import type { ActorRecord, Transition } from '../protocol/record.ts';
import type { ActorKey } from '../protocol/ids.ts';
import type { LiveActor } from './decision.ts';
import type { RegisteredType } from './registration.ts';
import { encodeRecord } from '../protocol/stored-record.ts';
import { restore } from './restore.ts';
import { step } from './step.ts';

export type FoldResult =
  | { readonly kind: 'folded'; readonly actor: LiveActor }
  /** The journal has no first transition and there is no checkpoint, or the record does not fit the machine. */
  | { readonly kind: 'impossible'; readonly reason: string }
  /** The machine does not do now what the journal says it did: it was changed without a new version, or a step is not pure. */
  | { readonly kind: 'diverged'; readonly revision: number; readonly reason: string };

/**
 * Repeats `transitions`, oldest first, on `checkpoint` (null: from the actor's first event).
 * `addresses[i]` is where `transitions[i]` was committed; invocation tokens are made of it.
 * The result is the stored record but for `timers[…].delayMs`: touches, which alone change it, leave no journal entry.
 */
export function fold(
  type: RegisteredType,
  key: ActorKey,
  checkpoint: ActorRecord | null,
  transitions: readonly Transition[],
  addresses: readonly string[],
): FoldResult {
  let actor: LiveActor | null = null;
  if (checkpoint !== null) {
    const restored = restore(type, key, encodeRecord(checkpoint));
    if ('parked' in restored) return { kind: 'impossible', reason: restored.parked };
    actor = restored;
  }
  for (const [index, transition] of transitions.entries()) {
    const address = addresses[index];
    if (address === undefined) return { kind: 'impossible', reason: `There is no address for revision ${transition.revision}.` };
    if (transition.revision !== (actor?.record.revision ?? 0) + 1) {
      return {
        kind: 'impossible',
        reason: `Revision ${transition.revision} does not follow revision ${actor?.record.revision ?? 0}: start from a checkpoint.`,
      };
    }
    const decision = step(type, key, actor, transition.stimulus, { at: transition.at, address });
    if (decision.kind !== 'transition') {
      const why = decision.kind === 'rejected' ? `: ${decision.rejection.reason}` : '';
      return { kind: 'diverged', revision: transition.revision, reason: `The journal has a transition, the machine now says "${decision.kind}"${why}.` };
    }
    actor = decision.actor;
  }
  if (actor === null) return { kind: 'impossible', reason: 'There is neither a checkpoint nor a transition.' };
  return { kind: 'folded', actor };
}
