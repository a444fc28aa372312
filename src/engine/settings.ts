/**
 * The engine's bounds. Each has a reason; all can be set, so that a test uses the same knobs as production. (I8)
 */
export interface EngineSettings {
  /** Events and firings of one commit. Beyond a few hundred the cost per event no longer falls, and Redis must not stall. */
  readonly batchEventsMax: number;
  /** Events and firings of one round, all partitions together: about 80 ms of this process, in which nothing else is done. */
  readonly roundEventsMax: number;
  /** JSON bytes of one commit: keeps one partition's script in the low milliseconds. */
  readonly batchBytesMax: number;
  /** Timer firings of one actor in one batch: a machine that re-arms a zero delay for ever must not hold its neighbours up. */
  readonly firingsPerActorMax: number;
  /** Entries read of each inbox in one round: one batch. */
  readonly inboxReadCount: number;
  /** Entries read of each source in one round: spread over 64 partitions they make batches of about 30. */
  readonly sourceReadCount: number;
  /** The loop looks at every inbox and source this often even when nobody rang: half of the 100 ms within which a quiet fleet's timers fire. */
  readonly pollMs: number;
  /** An owner that is gone is replaced after so long. */
  readonly leaseMs: number;
  /** Bytes of actors kept in memory. */
  readonly cacheBytesMax: number;
  /** Two pieces of evidence further apart than this have closed time between them: 2 x pulse, pulse = heartbeat interval / 8. */
  readonly observationGapMs: number;
  /** An idle partition stores how far it has read its sources this often, so that a restart does not read far back. */
  readonly checkpointMs: number;
  /** Promises of invocations running at once. */
  readonly invocationsMax: number;
  /** Effects of one executor running at once. */
  readonly laneConcurrency: number;
  /** Failed effects of one executor that are tried again by themselves; those beyond wait until one of the lane succeeds. */
  readonly laneRetriesMax: number;
  /** Tries of one effect before it becomes a dead letter: with doubling delays up to retryDelayMsMax, about an hour. */
  readonly effectAttemptsMax: number;
  readonly effectTimeoutMs: number;
  readonly retryDelayMs: number;
  readonly retryDelayMsMax: number;
  /** How often feeds are trimmed by bytes and age. */
  readonly trimEveryMs: number;
  readonly retention: { readonly maxBytes: number; readonly maxAgeMs: number };
}

const MEBIBYTE = 1_048_576;
const DAY_MS = 86_400_000;

export const DEFAULT_SETTINGS: EngineSettings = {
  batchEventsMax: 500,
  roundEventsMax: 4_000,
  batchBytesMax: MEBIBYTE,
  firingsPerActorMax: 1_000,
  inboxReadCount: 500,
  sourceReadCount: 2_000,
  pollMs: 50,
  leaseMs: 4_000,
  cacheBytesMax: 256 * MEBIBYTE,
  observationGapMs: 7_500,
  checkpointMs: 15_000,
  invocationsMax: 256,
  laneConcurrency: 64,
  laneRetriesMax: 1_000,
  effectAttemptsMax: 18,
  effectTimeoutMs: 30_000,
  retryDelayMs: 250,
  retryDelayMsMax: 300_000,
  trimEveryMs: 10_000,
  retention: { maxBytes: 64 * MEBIBYTE, maxAgeMs: 7 * DAY_MS },
};
