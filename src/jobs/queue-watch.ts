/**
 * What was seen of a queue, told to the jobs: entries of other producers, and what foreign workers do.
 *
 * 1. First told, then noted: a crash between tells it again, under the same dedupe id.
 * 2. In the order of a job's life: it is adopted before its claim is told, and claimed before its end.
 * 3. An entry that is no job's, or is refused, goes to the dead letters; its neighbours go on.
 * 4. A report names the attempt that its entry carries, so that the fence holds for workers that know of none.
 * 5. A consumer that is gone has acknowledged nothing for sure: removing it drops what it held. What it left decides.
 */
import { EXCERPT_LENGTH, type DeadLetter } from '../protocol/dead-letter.ts';
import type { EventSource, MachineEvent } from '../protocol/envelope.ts';
import { CastellanError } from '../protocol/errors.ts';
import { compareEntryIds, idOf } from '../protocol/ids.ts';
import { CONSUMER_PREFIX } from '../protocol/job-progress.ts';
import type { ForeignReport, HeldEntry, JobOfEntry, LeftBehind, ObservedStream, QueueContract, QueueLook, QueueObserver } from '../protocol/queues.ts';
import type { RejectedEntry } from '../protocol/source.ts';

/** Pages of other producers' entries that one look reads; the rest is read by the next. */
const PAGES_MAX = 20;
/** Events under way at once. */
const SENDS_AT_ONCE = 100;
const NAME_MAX = 256;

export interface EventSender {
  send(
    type: string,
    id: string,
    event: MachineEvent,
    options: { readonly dedupeId?: string; readonly source?: EventSource },
  ): Promise<{ readonly repeated: boolean }>;
}

export interface WatchPorts {
  readonly observer: QueueObserver;
  readonly client: EventSender;
  /** Stores dead letters (JSON without an id); twice is no harm. */
  readonly reject: (letters: readonly string[]) => Promise<void>;
  /** Redis's clock, ms since the epoch. */
  readonly time: () => Promise<number>;
}

/** A progress message that was heard of a job and says how it ended; undefined when none was. */
export type HeardOutcome = (jobId: string) => string | undefined;

interface Telling {
  readonly entry: string;
  readonly jobId: string;
  readonly event: MachineEvent;
  readonly dedupeId?: string;
}

/** Tells what the look saw, then notes it. Rejects when Redis is away: nothing is lost, the next look sees it again. */
export async function tellLook(
  ports: WatchPorts,
  stream: ObservedStream,
  contract: QueueContract,
  look: QueueLook,
  heard: HeardOutcome,
): Promise<{ readonly more: boolean }> {
  const scan = await adoptForeign(ports, stream, contract, look);
  await tell(ports, stream, claimsOf(stream, contract, look.claims));
  await tell(ports, stream, await endsOf(ports, stream, contract, look, heard));
  await tell(ports, stream, stallsOf(stream, contract, look.stalled));
  const told = [...look.acknowledged.filter(({ consumer }) => consumer !== '').map(({ entry }) => entry), ...look.handedOver];
  const changed = scan.scanned !== undefined || look.claims.length > 0 || told.length > 0 || look.acknowledged.length > 0;
  if (changed) await ports.observer.note([{ stream, claims: look.claims, told, passed: look.passed, ...scan }]);
  return { more: look.more || (scan.scanned !== undefined && scan.seen === undefined) };
}

export function endedId({ stream }: ObservedStream, entry: string): string {
  return `${stream}:${entry}:ended`;
}

/** Everything enqueued by others since the last look. Without `seen` in the answer there is more of it. */
async function adoptForeign(
  ports: WatchPorts,
  stream: ObservedStream,
  contract: QueueContract,
  look: QueueLook,
): Promise<{ readonly scanned?: string; readonly seen?: number }> {
  const { scanned, foreign, lastId } = look;
  if (scanned === lastId && look.seen === foreign) return {};
  const done = { scanned: lastId, seen: foreign };
  // Nothing but our own posts since.
  if (contract.adopt === undefined || look.seen === foreign) return done;
  // The first look is at what is unfinished, and is finished itself before anything is noted of it: after that, all is looked at.
  const first = scanned === null;
  const pagesMax = first ? Infinity : PAGES_MAX;
  let after = scanned ?? startOf(look);
  for (let page = 0; page < pagesMax; page++) {
    const { entries, next } = await ports.observer.scanForeign(stream, after, lastId, first);
    await adopt(ports, stream, contract, entries);
    if (next === null) return done;
    after = next;
  }
  return { scanned: after };
}

/** Where the group's unfinished entries begin: what it was done with before anybody looked is history. */
function startOf({ hasGroup, firstPending, lastDelivered }: QueueLook): string {
  if (!hasGroup) return '0-0';
  if (firstPending === null) return lastDelivered;
  const [ms, sequence] = firstPending.split('-').map(Number) as [number, number];
  const before = sequence > 0 ? `${ms}-${sequence - 1}` : `${Math.max(0, ms - 1)}-18446744073709551615`;
  return compareEntryIds(before, lastDelivered) < 0 ? before : lastDelivered;
}

async function adopt(
  ports: WatchPorts,
  stream: ObservedStream,
  contract: QueueContract,
  entries: readonly (readonly [string, readonly string[]])[],
): Promise<void> {
  const tellings: Telling[] = [];
  for (const [entry, fields] of entries) {
    const read = contract.adopt?.(stream.stream, entry, fields);
    if (read === undefined || read.ok === 'ignored') continue;
    if (!read.ok) await refuse(ports, stream, entry, read);
    else tellings.push({ entry, jobId: idOf(read.actor), event: read.event, dedupeId: read.dedupeId ?? `${stream.stream}:${entry}` });
  }
  await tell(ports, stream, tellings);
}

function claimsOf(stream: ObservedStream, contract: QueueContract, claims: readonly HeldEntry[]): Telling[] {
  return claims.flatMap((held): Telling[] => {
    const job = contract.jobOf(held.fields);
    if (job === undefined || isOnlyRead(held.consumer, job)) return [];
    const dedupeId = `${stream.stream}:${held.entry}:claimed:${held.consumer}:${held.deliveries}`;
    return [{ entry: held.entry, jobId: job.jobId, event: { type: 'claimed', ...reportOf(held, job.attempt) }, dedupeId }];
  });
}

/** Another node's entry is only left pending by whoever read it; the named one takes it over, and that is another claim. */
function isOnlyRead(consumer: string, { targetNode }: JobOfEntry): boolean {
  return targetNode !== undefined && !consumer.includes(targetNode);
}

/** Nothing tells who acknowledged an entry between two looks; when there is but one who could, it was that one. */
function named({ acknowledged, consumers }: QueueLook): readonly HeldEntry[] {
  const [only, ...others] = consumers.filter(({ name }) => !name.startsWith(CONSUMER_PREFIX));
  if (only === undefined || others.length > 0) return acknowledged;
  return acknowledged.map((held) => (held.consumer === '' ? { ...held, consumer: only.name } : held));
}

async function endsOf(ports: WatchPorts, stream: ObservedStream, contract: QueueContract, look: QueueLook, heard: HeardOutcome): Promise<Telling[]> {
  const names = new Set(look.consumers.map(({ name }) => name));
  const ended = named(look).flatMap((held) => {
    const job = contract.jobOf(held.fields);
    return job === undefined ? [] : [{ held, job }];
  });
  if (ended.length === 0) return [];
  const left: readonly LeftBehind[] = contract.outcome === undefined ? [] : await ports.observer.leftBehind(ended.map(({ job }) => job.jobId));
  return ended.map(({ held, job }, index): Telling => {
    const report = reportOf(held, job.attempt);
    const isRemoved = held.consumer !== '' && !names.has(held.consumer);
    const outcome = isRemoved ? (contract.removed ?? contract.outcome) : contract.outcome; // (5)
    const event = outcome?.(job.jobId, withHeard(left[index] as LeftBehind, heard(job.jobId)), report) ?? { type: 'end', ...report };
    return { entry: held.entry, jobId: job.jobId, event, dedupeId: endedId(stream, held.entry) };
  });
}

/** What was only told on the channel lies nowhere; it stands behind what was kept, which counts when it says the same. */
function withHeard(left: LeftBehind, message: string | undefined): LeftBehind {
  return message === undefined ? left : { ...left, progress: [...left.progress, message] };
}

function stallsOf(stream: ObservedStream, contract: QueueContract, stalled: readonly HeldEntry[]): Telling[] {
  return stalled.flatMap(({ entry, consumer, deliveries, fields }): Telling[] => {
    const job = contract.jobOf(fields);
    if (job === undefined || isOnlyRead(consumer, job)) return [];
    const event = { type: 'stalled', entry, worker: consumer.slice(0, NAME_MAX), ...(job.attempt === undefined ? {} : { attempt: job.attempt }) };
    return [{ entry, jobId: job.jobId, event, dedupeId: stalledId(stream, { entry, consumer, deliveries }) }];
  });
}

export function stalledId({ stream }: ObservedStream, { entry, consumer, deliveries }: Pick<HeldEntry, 'entry' | 'consumer' | 'deliveries'>): string {
  return `${stream}:${entry}:stalled:${consumer}:${deliveries}`;
}

function reportOf({ entry, consumer }: HeldEntry, attempt: number | undefined): ForeignReport {
  return { entry, ...(consumer === '' ? {} : { worker: consumer.slice(0, NAME_MAX) }), ...(attempt === undefined ? {} : { attempt }) }; // (4)
}

async function tell(ports: WatchPorts, stream: ObservedStream, tellings: readonly Telling[]): Promise<void> {
  for (let at = 0; at < tellings.length; at += SENDS_AT_ONCE) {
    await Promise.all(tellings.slice(at, at + SENDS_AT_ONCE).map((telling) => tellOne(ports, stream, telling)));
  }
}

/** An event that no job takes is kept as a dead letter (3); any other failure ends the look. */
export async function tellOne(ports: WatchPorts, stream: ObservedStream, { entry, jobId, event, dedupeId }: Telling): Promise<void> {
  try {
    await ports.client.send('job', jobId, event, { source: `stream:${stream.stream}`, ...(dedupeId === undefined ? {} : { dedupeId }) });
  } catch (error) {
    if (!(error instanceof CastellanError) || error.retryable) throw error;
    const field = error.field === undefined ? {} : { field: error.field };
    await refuse(ports, stream, entry, { ok: false, code: error.code, reason: error.message, ...field, excerpt: `job ${jobId}`.slice(0, EXCERPT_LENGTH) });
  }
}

async function refuse(ports: WatchPorts, { stream }: ObservedStream, entry: string, { code, reason, field, excerpt }: RejectedEntry): Promise<void> {
  const letter: Omit<DeadLetter, 'id'> = {
    at: await ports.time(),
    source: `stream:${stream}`,
    ref: entry,
    code,
    reason,
    ...(field === undefined ? {} : { field }),
    excerpt,
  };
  await ports.reject([JSON.stringify(letter)]);
}
