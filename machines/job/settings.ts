/** How long a job waits for what. All in ms. */
export interface JobMachineSettings {
  /** A worker of ours that told nothing for so long is doubted; it tells a sign of life every third of it. Observed time. */
  readonly leaseMs: number;
  /** A node that was asked about its worker, and has not answered, is asked again after so long. Observed time. */
  readonly askMs: number;
  /** Jobs that lost their workers together are handed out again within this time, each at a moment of its own. */
  readonly paceMs: number;
  /** Before the fleet is looked at again for a job without a place; doubled at each look, up to the maximum. */
  readonly lookMs: number;
  readonly lookMsMax: number;
  /** A job that its node has not taken after so long is placed anew; doubled each time, up to the maximum. */
  readonly placedMs: number;
  readonly placedMsMax: number;
}

export const DEFAULT_JOB_MACHINE: JobMachineSettings = {
  leaseMs: 30_000,
  askMs: 60_000,
  paceMs: 5_000,
  lookMs: 1_000,
  lookMsMax: 60_000,
  placedMs: 60_000,
  placedMsMax: 600_000,
};
