/**
 * Reads one list of another system: take (to the processing list) → append → settle, while this process holds the list's lease.
 *
 * 1. An item is applied exactly once: it lies in the processing list under one number until it is settled, and that number is its
 *    dedupe id. Whoever takes over begins with what lies there. (I1)
 * 2. Items are appended in the order in which they would have been popped.
 */
import type { ListSource } from '../protocol/source.ts';
import { appendItems, type IntakeStore } from './intake-append.ts';
import type { Meter } from './meter.ts';
import type { Notices } from './notices.ts';
import type { Clock, ListIntake } from './ports.ts';

/** Items taken at once: one append a partition, so that they stay in order. */
const ITEMS_MAX = 100;
/** Who waits for the lease looks this many times within its length. */
const LOOKS_PER_LEASE = 4;
const FAILURE_PAUSE_MS = 50;
const FAILURE_PAUSE_MS_MAX = 2_000;

export interface ListReaderPorts {
  readonly intake: ListIntake;
  readonly store: IntakeStore;
  readonly clock: Clock;
  readonly meter: Meter;
  readonly notices: Notices;
  readonly owner: string;
  readonly leaseMs: number;
  /** Between two looks at an empty list. */
  readonly pollMs: number;
}

export async function readList(source: ListSource, ports: ListReaderPorts, signal: AbortSignal): Promise<void> {
  const { clock, notices, intake, owner } = ports;
  let failures = 0;
  while (!signal.aborted) {
    let pauseMs: number;
    try {
      pauseMs = await takeTurn(source, ports);
      failures = 0;
    } catch (error) {
      notices.tell('intake-failed', `The list ${source.list} is not being read: ${(error as Error).message}`);
      pauseMs = Math.min(FAILURE_PAUSE_MS_MAX, FAILURE_PAUSE_MS * 2 ** Math.min(failures++, 10)) * (0.5 + clock.random());
    }
    if (pauseMs > 0) await clock.sleep(pauseMs, signal);
  }
  await intake.releaseList(source.list, owner).catch(() => undefined); // the lease then ends by itself
}

/** Resolves with how long nothing need be done. */
async function takeTurn({ list, side, decode }: ListSource, { intake, store, meter, owner, leaseMs, pollMs }: ListReaderPorts): Promise<number> {
  const taken = await intake.take({ list, side, owner, leaseMs, max: ITEMS_MAX });
  if (taken.kind === 'held') return Math.max(1, Math.min(taken.remainingMs, leaseMs / LOOKS_PER_LEASE));
  const { first, items } = taken;
  if (items.length === 0) return pollMs;
  const numbered = items.map((text, index) => {
    const number = first + index;
    return { ref: String(number), text, dedupeId: `list:${list}#${number}`, decode };
  });
  await appendItems(store, `list:${list}`, numbered);
  await intake.settle({ list, owner, first, count: items.length });
  meter.count('list_items', items.length);
  return items.length < ITEMS_MAX ? pollMs : 0;
}
