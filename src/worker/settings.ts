/** The worker's bounds. Times in ms. */

/** Shorter jobs are not told as claimed: their end says it. One report less for each is half of their cost. */
export const CLAIM_AFTER_MS = 10;
/** A third of the lease that the job's machine gives its worker, so that two signs of life may be lost. */
export const ALIVE_EVERY_MS = 10_000;
/** How exactly a job's own timeout is kept, and how often its progress is told at most. */
export const SCAN_EVERY_MS = 100;
/** Cancel flags and entries for this node are looked at so often. */
export const LOOK_EVERY_MS = 1_000;
/** As the job's machine has it. */
export const DEFAULT_TIMEOUT_MS = 300_000;
/** A handler that was asked to end is waited for so long before its end is told: two tries at once are avoided if they can be. */
export const ABORT_GRACE_MS = 5_000;
/** A handler that does not end keeps its slot for so long: it still uses what the slot stands for. After that the slot is given up as lost. */
export const ABANDON_AFTER_MS = 60_000;
export const DEFAULT_CONCURRENCY = 10;
export const CONCURRENCY_MAX = 10_000;
/** Running jobs are waited for so long when the worker stops: below the 30 s that orchestrators give a process. */
export const DEFAULT_GRACE_MS = 20_000;
/** The last reports are waited for so long. */
export const LAST_REPORTS_MS = 5_000;
/** A blocking read is finite, so that a dead link is noticed. */
export const CONSUME_BLOCK_MS = 5_000;
/** Between reads that failed; doubles from the first to the last. */
export const RETRY_MS_FIRST = 100;
export const RETRY_MS_LAST = 2_000;
/** The node's own heartbeat, and after how many of them without news a node that was told to be unwell takes jobs again. */
export const DEFAULT_HEARTBEAT_MS = 30_000;
export const UNWELL_HEARTBEATS = 3;
/** Of what a report quotes; as the job's events bound them. */
export const MESSAGE_MAX = 4_096;
export const CODE_MAX = 64;
/** Room for a message's envelope within PROGRESS_BYTES_MAX. */
export const ENVELOPE_BYTES = 4_096;
