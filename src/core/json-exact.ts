/**
 * Whether a value survives JSON unchanged, told as the path and the nature of the first part that does not.
 *
 * 1. A property that is `undefined` is allowed: JSON leaves it out and reads of it give the same.
 *    In an array it is not: JSON would make it null.
 * 2. What was part of the previous, already checked value (the same reference) is not walked again.
 */
import type { AnyActorRef } from 'xstate';
import { addressOf } from '../protocol/actor-reference.ts';

/** Deeper nesting is refused: no honest event or context is so deep, and walking it must not exhaust the stack. */
export const JSON_DEPTH_MAX = 32;

export interface JsonFault {
  /** Path below the value, such as `services[2].port`; empty for the value itself. */
  readonly path: string;
  readonly why: string;
}

/** What to do with references to child actors: allowed where XState revives them (in context), and only to living children. */
export interface ReferenceRule {
  isChild(reference: AnyActorRef): boolean;
  /** Called once for each reference that is allowed. */
  seen(): void;
}

/** The first part of `value` that JSON would lose or change, or undefined. */
export function jsonFault(value: unknown, previous?: unknown, references?: ReferenceRule): JsonFault | undefined {
  return fault(value, previous, references, 0);
}

function fault(value: unknown, previous: unknown, references: ReferenceRule | undefined, depth: number): JsonFault | undefined {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return undefined;
    case 'number':
      return Number.isFinite(value) ? undefined : { path: '', why: `is ${value}; JSON has no such number` };
    case 'object':
      if (value === null || (value === previous && references === undefined)) return undefined;
      if (depth >= JSON_DEPTH_MAX) return { path: '', why: `is nested deeper than ${JSON_DEPTH_MAX}` };
      return Array.isArray(value) ? arrayFault(value, previous, references, depth) : objectFault(value, previous, references, depth);
    case 'undefined':
      return { path: '', why: 'is undefined; JSON has no such value' };
    default:
      return { path: '', why: `is a ${typeof value}; JSON has no such value` };
  }
}

function arrayFault(value: readonly unknown[], previous: unknown, references: ReferenceRule | undefined, depth: number): JsonFault | undefined {
  const before = Array.isArray(previous) ? (previous as readonly unknown[]) : undefined;
  for (let index = 0; index < value.length; index++) {
    const found = fault(value[index], before?.[index], references, depth + 1);
    if (found !== undefined) return { path: join(`[${index}]`, found.path), why: found.why };
  }
  return undefined;
}

function objectFault(value: object, previous: unknown, references: ReferenceRule | undefined, depth: number): JsonFault | undefined {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return strangerFault(value, prototype, references);
  if (addressOf(value) !== undefined) return { path: '', why: 'is a reference made by durableActor(); keep the id and make the reference where it is sent to' };
  const before = typeof previous === 'object' && previous !== null ? (previous as Record<string, unknown>) : undefined;
  const fields = value as Record<string, unknown>;
  for (const key in fields) {
    // JSON.stringify keeps a key that parsing would keep too, but a copy by assignment would change the prototype.
    if (key === '__proto__') return { path: key, why: 'is not allowed as a key' };
    const field = fields[key];
    if (field === undefined) continue;
    const found = fault(field, before?.[key], references, depth + 1);
    if (found !== undefined) return { path: join(key, found.path), why: found.why };
  }
  return undefined;
}

function strangerFault(value: object, prototype: unknown, references: ReferenceRule | undefined): JsonFault | undefined {
  if (isActorReference(value)) {
    if (references === undefined) return { path: '', why: 'is an actor reference, which cannot be stored here; pass its id' };
    if (references.isChild(value)) {
      references.seen();
      return undefined;
    }
    return { path: '', why: `refers to the actor "${value.id}", which is not a living child; clear the reference where the child is stopped` };
  }
  const name = (prototype as { constructor?: { name?: string } }).constructor?.name ?? 'unknown class';
  const hint = name === 'Date' ? '; keep milliseconds or an ISO string' : '';
  return { path: '', why: `is a ${name}, which JSON would change${hint}` };
}

/** XState's own test for a reference in a context. */
export function isActorReference(value: object): value is AnyActorRef {
  return 'sessionId' in value && 'send' in value && 'ref' in value;
}

function join(head: string, tail: string): string {
  if (tail === '') return head;
  return tail.startsWith('[') ? head + tail : `${head}.${tail}`;
}

/** Deep equality of two JSON values; a missing property equals one that is undefined. */
export function sameJson(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return false;
  if (Array.isArray(left) !== Array.isArray(right)) return false;
  const a = left as Record<string, unknown>;
  const b = right as Record<string, unknown>;
  for (const key in a) if (!sameJson(a[key], b[key])) return false;
  for (const key in b) if (a[key] === undefined && b[key] !== undefined) return false;
  return true;
}
