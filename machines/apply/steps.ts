/**
 * What applying a configuration consists of, as data: every value here is written to the node's journal before anything is done with it.
 *
 * 1. A step can be done twice: it looks at what is there and does what is missing. So it is safe to begin the newest one again after a crash.
 * 2. A container is meant by its id, or by the mark of the apply that made it; never by its name alone.
 */
import type { ServiceOutcome } from '../../src/protocol/device-config.ts';
import type { Json } from '../../src/protocol/json.ts';

/** A container as it is to be made. Nothing in it comes from a configuration but values of parameters that the catalogue declares. */
export interface ContainerSpec {
  readonly service: string;
  readonly image: string;
  readonly command: readonly string[] | null;
  readonly env: { readonly [name: string]: string };
  /** Environment variables that carry secrets of this node; filled in when the container is made, so that no secret is in the journal. */
  readonly secrets: readonly string[];
  readonly user: string | null;
  readonly ports: readonly { readonly container: number; readonly host: number }[];
  readonly volumes: readonly { readonly name: string; readonly path: string }[];
  readonly gpu: boolean;
  readonly memoryMb: number | null;
  readonly cpus: number | null;
  readonly pids: number;
  readonly sharedMemoryMb: number | null;
  readonly readOnlyRoot: boolean;
  readonly capabilities: readonly string[];
  readonly health: HealthQuestion;
  readonly startDeadlineMs: number;
}

export type HealthQuestion =
  | { readonly kind: 'http'; readonly port: number; readonly path: string }
  | { readonly kind: 'tcp'; readonly port: number }
  | { readonly kind: 'command'; readonly command: readonly string[] };

/** A container that stood under a service's name before. */
export interface Predecessor {
  readonly service: string;
  readonly id: string;
  readonly running: boolean;
}

/** Every kind of step and its fields. Who executes them has a table with one entry for each (a missing one does not compile). */
export interface StepKinds {
  /** Gets the image, unless it is there. */
  readonly pull: { readonly service: string; readonly image: string };
  /** Stops the container and gives it the name `citadel-<service>-previous`. */
  readonly park: { readonly service: string; readonly id: string };
  /** Makes the container, its network and its volumes; it does not run yet. */
  readonly create: {
    readonly service: string;
    readonly spec: ContainerSpec;
    readonly specHash: string;
    readonly apply: string;
    readonly revision: number | null;
  };
  /** Starts what this apply made. */
  readonly start: { readonly service: string; readonly apply: string };
  /** Starts a container that is as it should be and does not run. */
  readonly resume: { readonly service: string; readonly id: string };
  readonly ssh: { readonly enabled: boolean };
  /** Removes what this apply made, if it got so far. */
  readonly discard: { readonly service: string; readonly apply: string };
  /** Gives the container its name again, and has it run or stand as before. */
  readonly restore: Predecessor;
  /** Removes a container that stood here before and is no longer needed. Its volumes stay. */
  readonly remove: { readonly service: string; readonly id: string };
}
export type Step = { readonly [Kind in keyof StepKinds]: { readonly kind: Kind } & StepKinds[Kind] }[keyof StepKinds];

export interface GateTarget {
  readonly service: string;
  readonly deadlineMs: number;
  readonly health: HealthQuestion;
  readonly ports: ContainerSpec['ports'];
}

/** All that an apply is going to do, decided before it does anything. */
export interface Plan {
  readonly steps: readonly Step[];
  /** Leads back from wherever the steps got to. */
  readonly undo: readonly Step[];
  /** What is left to do when the gate was passed. */
  readonly finish: readonly Step[];
  readonly gate: readonly GateTarget[];
  /** False: the services are kept as wanted and not started. */
  readonly starts: boolean;
  /** How the services stand before the first step. */
  readonly services: readonly ServiceOutcome[];
  /** What the node remembers when this has succeeded: its own words. */
  readonly next: Json;
}

/** Why something cannot be done; `service` when it is one service's fault. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly field?: string;
  readonly service?: string;
}
export type Outcome = { readonly kind: 'done' } | { readonly kind: 'failed'; readonly failure: Failure };
