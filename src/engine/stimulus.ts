/**
 * From what lies in an inbox or a source to what a step takes, or to the reason why it is refused. Pure.
 */
import { checkEvent } from '../core/kernel.ts';
import { EXCERPT_LENGTH, REPLAYABLE_BYTES_MAX, type DeadLetter } from '../protocol/dead-letter.ts';
import type { InvocationOutcome, MachineEvent, Stimulus } from '../protocol/envelope.ts';
import { CastellanError } from '../protocol/errors.ts';
import { parseActorKey, typeOf, type ActorKey } from '../protocol/ids.ts';
import type { HostedType, HostedTypes } from './actor-types.ts';
import type { InboxItem } from '../protocol/inbox-entry.ts';
import type { SourceItem } from './partition.ts';

export type Refusal = Omit<DeadLetter, 'id' | 'at' | 'source' | 'ref'>;

/** What a dead letter quotes if the step rejects: made only then. */
interface Quoted {
  readonly excerpt: string;
  readonly event?: MachineEvent;
}

export type ReadStimulus =
  | { readonly ok: true; readonly hosted: HostedType; readonly key: ActorKey; readonly stimulus: Stimulus; readonly quoted: () => Quoted }
  | { readonly ok: false; readonly refusal: Refusal };

/** The event under which the result of an invocation is appended by the engine itself (source `invocation`). */
export const SETTLED = 'castellan.settled';
export interface SettledEvent {
  readonly type: typeof SETTLED;
  readonly invocation: string;
  readonly token: string;
  readonly outcome: InvocationOutcome;
}

export function refusal(code: string, reason: string, field?: string): Pick<Refusal, 'code' | 'reason' | 'field'> & { readonly excerpt: string } {
  return { code, reason, excerpt: '', ...(field === undefined ? {} : { field }) };
}

/** An inbox entry. External events are checked against the actor type's schemas; the engine's own results by their token. */
export function readStimulus(types: HostedTypes, item: InboxItem): ReadStimulus {
  const refuse = (code: string, reason: string, field?: string, event?: MachineEvent): ReadStimulus => {
    const replayable = event !== undefined && item.event.length <= REPLAYABLE_BYTES_MAX ? { event } : {};
    return { ok: false, refusal: { ...refusal(code, reason, field), ...actorOf(item.key), ...replayable, excerpt: excerptOf(item) } };
  };
  const hosted = types.get(typeOf(item.key));
  if (hosted === undefined) return refuse('unknown_actor_type', `No actor type is registered for "${item.key}".`, 'actor');
  let event: unknown;
  try {
    event = JSON.parse(item.event);
  } catch (error) {
    return refuse('not_json', `The event is not JSON: ${(error as Error).message}`, 'event');
  }
  if (item.source === 'invocation') return settled(hosted, item, event as SettledEvent);
  const checked = checkEvent(hosted.registered, event);
  if (!checked.ok) {
    const { code, reason, field } = checked.rejection;
    return refuse(code, reason, field, isEvent(event) ? event : undefined);
  }
  const quoted = (): Quoted => ({ excerpt: excerptOf(item), ...(item.event.length <= REPLAYABLE_BYTES_MAX ? { event: checked.event } : {}) });
  return { ok: true, hosted, key: item.key, stimulus: { kind: 'event', event: checked.event }, quoted };
}

function settled(hosted: HostedType, item: InboxItem, { invocation, token, outcome }: SettledEvent): ReadStimulus {
  return { ok: true, hosted, key: item.key, stimulus: { kind: 'settled', invocation, token, outcome }, quoted: () => ({ excerpt: excerptOf(item) }) };
}

function excerptOf(item: InboxItem): string {
  return item.event.slice(0, EXCERPT_LENGTH);
}

/** A source's entry, decoded by its contract. What a contract makes is not checked a second time. */
export function readSourceStimulus(types: HostedTypes, item: SourceItem): ReadStimulus {
  const decoded = item.source.decode(item.id, item.fields);
  if (!decoded.ok) {
    const { code, reason, field, excerpt } = decoded;
    return { ok: false, refusal: { ...refusal(code, reason, field), excerpt, ...(item.key === undefined ? {} : { actor: item.key }) } };
  }
  const hosted = item.key === undefined ? undefined : types.get(typeOf(item.key));
  if (hosted === undefined || item.key === undefined) {
    const reason = `No actor type is registered for "${item.key ?? ''}".`;
    return { ok: false, refusal: { ...refusal('unknown_actor_type', reason), excerpt: JSON.stringify(decoded.event).slice(0, EXCERPT_LENGTH) } };
  }
  const { event, document } = decoded;
  return {
    ok: true,
    hosted,
    key: item.key,
    stimulus: document === undefined ? { kind: 'event', event } : { kind: 'event', event, document },
    quoted: () => ({ excerpt: JSON.stringify(event).slice(0, EXCERPT_LENGTH), event }),
  };
}

function isEvent(value: unknown): value is MachineEvent {
  return typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string';
}

/** A dead letter names an actor only if that is an address. */
function actorOf(key: ActorKey): { readonly actor?: ActorKey } {
  try {
    parseActorKey(key);
    return { actor: key };
  } catch (error) {
    if (error instanceof CastellanError) return {};
    throw error;
  }
}
