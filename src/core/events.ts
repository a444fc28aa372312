/**
 * The check of an event that comes from outside.
 *
 * 1. Only declared events pass, and none named `xstate.*`: those belong to the interpreter.
 * 2. The schema checks and does not change: the event goes on as it came, unknown fields and all, so what is journalled is what was sent.
 */
import type { MachineEvent } from '../protocol/envelope.ts';
import type { SchemaIssue } from '../protocol/schema.ts';
import type { Rejection } from './decision.ts';
import { JSON_DEPTH_MAX } from './json-exact.ts';
import type { RegisteredType } from './registration.ts';

export type EventCheck = { readonly ok: true; readonly event: MachineEvent } | { readonly ok: false; readonly rejection: Rejection };

/** Reasons quote names that came from outside; longer ones are cut. */
const QUOTED_LENGTH_MAX = 80;

export function checkEvent(type: RegisteredType, event: unknown): EventCheck {
  if (typeof event !== 'object' || event === null || Array.isArray(event)) return refuse('invalid_event', 'An event must be an object with a type.');
  const name: unknown = (event as { type?: unknown }).type;
  if (typeof name !== 'string') return refuse('invalid_event', 'An event must have a type, which is a string.', 'type');
  if (name.startsWith('xstate.')) return refuse('reserved_event', 'An event named xstate.* may not come from outside.', 'type');
  const schema = Object.hasOwn(type.definition.events, name) ? type.definition.events[name] : undefined;
  if (schema === undefined) {
    const quoted = JSON.stringify(name.slice(0, QUOTED_LENGTH_MAX));
    return refuse('unknown_event', `${quoted} is not an event of "${type.type}". It takes: ${type.eventTypes.join(', ') || 'none'}.`, 'type');
  }
  const hostile = hostility(event, '', 0);
  if (hostile !== undefined) return { ok: false, rejection: hostile };

  let result;
  try {
    result = schema['~standard'].validate(event);
  } catch (thrown) {
    return refuse('schema_threw', `The schema of "${name}" threw: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
  if ('then' in result) return refuse('schema_async', `The schema of "${name}" answered with a promise; schemas must be synchronous.`);
  const issue = result.issues?.[0];
  if (issue !== undefined) return refuse('invalid_event', issue.message, fieldOf(issue));
  return { ok: true, event: event as MachineEvent };
}

function refuse(code: string, reason: string, field?: string): EventCheck {
  return { ok: false, rejection: field === undefined || field === '' ? { code, reason } : { code, reason, field } };
}

function fieldOf({ path }: SchemaIssue): string {
  let field = '';
  for (const segment of path ?? []) {
    const key = typeof segment === 'object' ? segment.key : segment;
    field += typeof key === 'number' ? `[${key}]` : `${field === '' ? '' : '.'}${String(key)}`;
  }
  return field;
}

/** Keys that could change a prototype, nesting that could exhaust a stack, and what JSON has no word for. */
function hostility(value: unknown, at: string, depth: number): Rejection | undefined {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'undefined':
      return undefined;
    case 'number':
      return Number.isFinite(value) ? undefined : { code: 'not_json', reason: `A field is ${value}, which JSON has no word for.`, field: at };
    case 'object':
      break;
    default:
      return { code: 'not_json', reason: `A field is a ${typeof value}, which JSON has no word for.`, field: at };
  }
  if (value === null) return undefined;
  if (depth >= JSON_DEPTH_MAX) return { code: 'too_deep', reason: `An event may be nested ${JSON_DEPTH_MAX} deep.`, field: at };
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const item: unknown = value[index];
      const found =
        item === undefined
          ? { code: 'not_json', reason: 'An array holds undefined, which JSON has no word for.', field: `${at}[${index}]` }
          : hostilityOf(item, () => `${at}[${index}]`, depth);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null)
    return { code: 'not_json', reason: 'A field is an instance of a class, which JSON would change.', field: at };
  for (const key in value) {
    if (key === '__proto__' || key === 'constructor' || key === 'prototype') {
      return { code: 'forbidden_key', reason: `The key "${key}" is not allowed.`, field: at === '' ? key : `${at}.${key}` };
    }
    const found = hostilityOf((value as Record<string, unknown>)[key], () => (at === '' ? key : `${at}.${key}`), depth);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Scalars, the most of any event, are judged without building their path. */
function hostilityOf(value: unknown, at: () => string, depth: number): Rejection | undefined {
  const kind = typeof value;
  if (kind === 'string' || kind === 'boolean' || kind === 'undefined' || value === null || (kind === 'number' && Number.isFinite(value))) return undefined;
  return hostility(value, at(), depth + 1);
}
