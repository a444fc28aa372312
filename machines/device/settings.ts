/** How long a device waits for what. All in ms. */
export interface DeviceMachineSettings {
  /** An agent that has told nothing about a pushed configuration for so long is said to be silent, and the push is repeated; doubled each time. */
  readonly reportMs: number;
  readonly reportMsMax: number;
  /** So long a GPU is hot, or a node degraded, before it is an incident. */
  readonly holdMs: number;
}

export const DEFAULT_DEVICE_MACHINE: DeviceMachineSettings = { reportMs: 600_000, reportMsMax: 21_600_000, holdMs: 60_000 };
