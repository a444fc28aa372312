/**
 * One step in progress: the actor and its children, run until none has anything left to do.
 *
 * 1. The actor before the step is never changed: what changes is a copy, so a decision can be dropped.
 * 2. Events among parent and children are delivered as XState does: to a child at once, to an actor that is
 *    in the middle of its own macrostep when that ends.
 * 3. An actor that is no longer active takes no event and owns no timer, child or invocation.
 */
import type { AnyMachineSnapshot } from 'xstate';
import type { ActorRecord, ChildState, InvocationState, MachineEventJson } from '../protocol/record.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import type { Command } from '../protocol/command.ts';
import type { Json } from '../protocol/json.ts';
import { idOf, type ActorKey } from '../protocol/ids.ts';
import type { PreparedMachine, RegisteredType } from './registration.ts';
import type { Moment } from './decision.ts';
import { Self } from './interpreter.ts';
import { TimerLedger } from './timer-ledger.ts';

/** An actor or a child of it in memory. Never changed once a step has ended (1). */
export interface LiveNode {
  readonly snapshot: AnyMachineSnapshot;
  /** Whether its context holds references to children: then persisting must replace them. */
  readonly hasReferences: boolean;
}

/** A child in memory: a machine, or a promise of which only the reference lives here. */
export interface LiveChild {
  readonly source: string;
  /** The reference that stands for it in its parent's snapshot. */
  readonly reference: unknown;
  readonly machine: PreparedMachine | undefined;
  readonly node: LiveNode | undefined;
}

/** What `LiveActor.live` holds. */
export interface Live {
  readonly root: LiveNode;
  readonly children: ReadonlyMap<string, LiveChild>;
}

export const NO_CHILDREN: ReadonlyMap<string, LiveChild> = Object.freeze(new Map<string, LiveChild>());

/** A machine within a step. */
export interface Part {
  readonly path: string;
  readonly machine: PreparedMachine;
  readonly self: Self;
  readonly source: string;
  readonly reference: unknown;
  readonly before: LiveNode | undefined;
  snapshot: AnyMachineSnapshot | undefined;
  busy: boolean;
  readonly mailbox: MachineEvent[];
}

/** A promise within a step: only that it is there, and what its reference is. */
export interface PromisePart {
  readonly path: string;
  readonly source: string;
  readonly reference: unknown;
}

export class Run {
  readonly type: RegisteredType;
  readonly key: ActorKey;
  readonly moment: Moment;
  readonly revision: number;
  readonly document: string | undefined;
  readonly root: Part;
  readonly timers: TimerLedger;
  readonly commands: Command[] = [];
  readonly emitted: MachineEventJson[] = [];
  readonly logs: Json[] = [];
  /** What setDocument chose to store. */
  documentSet: string | undefined;
  invocations: { [key: string]: InvocationState };
  invocationsChanged = false;
  childrenChanged = false;
  #parts: Map<string, Part | PromisePart> | undefined;
  readonly #childrenBefore: ReadonlyMap<string, LiveChild>;
  #tokens = 0;

  constructor(type: RegisteredType, key: ActorKey, moment: Moment, record: ActorRecord | undefined, live: Live | undefined, document: string | undefined) {
    this.type = type;
    this.key = key;
    this.moment = moment;
    this.revision = (record?.revision ?? 0) + 1;
    this.document = document;
    this.timers = new TimerLedger(record?.timers ?? {});
    this.invocations = record?.invocations ?? {};
    this.#childrenBefore = live?.children ?? NO_CHILDREN;
    const self = new Self('', idOf(key), undefined, type.interpreter.system);
    this.root = {
      path: '',
      machine: type.machine,
      self,
      source: '',
      reference: undefined,
      before: live?.root,
      snapshot: live?.root.snapshot,
      busy: false,
      mailbox: [],
    };
  }

  /** Children by path, made from the actor's when first needed: most steps of most machines never do. */
  get parts(): Map<string, Part | PromisePart> {
    if (this.#parts !== undefined) return this.#parts;
    const parts = new Map<string, Part | PromisePart>();
    this.#parts = parts;
    for (const [path, child] of this.#childrenBefore) {
      const { source, reference, machine, node } = child;
      if (machine === undefined || node === undefined) parts.set(path, { path, source, reference });
      else parts.set(path, this.newPart(path, machine, source, reference, node));
    }
    return parts;
  }

  /** Whether any child was looked at, and so may have changed. */
  get hasParts(): boolean {
    return this.#parts !== undefined;
  }

  get childrenBefore(): ReadonlyMap<string, LiveChild> {
    return this.#childrenBefore;
  }

  newPart(path: string, machine: PreparedMachine, source: string, reference: unknown, before: LiveNode | undefined): Part {
    const self = new Self(path, path.slice(path.lastIndexOf('/') + 1), this.part(parentPath(path))?.self, this.type.interpreter.system);
    return { path, machine, self, source, reference, before, snapshot: before?.snapshot, busy: false, mailbox: [] };
  }

  /** The machine at a path; undefined for a promise and for nothing. */
  part(path: string): Part | undefined {
    if (path === '') return this.root;
    const part = this.parts.get(path);
    return part !== undefined && 'machine' in part ? part : undefined;
  }

  setInvocation(key: string, source: string, input: Json): void {
    this.#tokens += 1;
    this.#ownInvocations()[key] = { source, input, token: `${this.moment.address}#${this.#tokens}` };
  }

  dropInvocation(key: string): void {
    if (Object.hasOwn(this.invocations, key)) delete this.#ownInvocations()[key];
  }

  #ownInvocations(): { [key: string]: InvocationState } {
    if (!this.invocationsChanged) {
      this.invocations = { ...this.invocations };
      this.invocationsChanged = true;
    }
    return this.invocations;
  }
}

/** The path of the parent of the child at `path`. */
export function parentPath(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
}

export function childPath(parent: string, id: string): string {
  return parent === '' ? id : `${parent}/${id}`;
}

/** The key of the invocation whose reference is the child at `path`. */
export function invocationKey(path: string): string {
  return `${parentPath(path)}|${path.slice(path.lastIndexOf('/') + 1)}`;
}

/** What stands in the record for a promise that has settled: its parent may still refer to it. */
export const SETTLED: ChildState['snapshot'] = Object.freeze({ status: 'done' });
