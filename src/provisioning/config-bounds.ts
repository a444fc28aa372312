/**
 * How large and how deep the JSON of a configuration may be, and the names that no key of it may have.
 *
 * 1. It is walked once, before anything looks into it, so that what comes after may recurse and copy.
 * 2. What is refused is named by its path; of a name that a stranger chose, a bounded and printable part.
 */
import { InvalidConfigError } from '../protocol/errors.ts';

/** `services[].parameters.x` is four deep; the envelope adds one. */
const DEPTH_MAX = 8;
const VALUES_MAX = 2048;
const KEYS_MAX = 64;
/** More than any list of a configuration may hold; each has its own, smaller limit. */
const ITEMS_MAX = 256;
const TEXT_MAX = 4096;
const NAME_MAX = 64;

/** Keys that reach an object's prototype in careless code. In none of a configuration's places is there a field of such a name. */
const FORBIDDEN_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/** Throws {@link InvalidConfigError} naming the first place that is too large, too deep, not JSON, or has a forbidden name. */
export function checkBounds(value: unknown, field: string): void {
  let values = 0;
  const walk = (each: unknown, path: string, depth: number): void => {
    if (++values > VALUES_MAX) throw new InvalidConfigError(path, `is one value too many: a configuration may hold ${VALUES_MAX}.`);
    if (each === null || typeof each === 'boolean') return;
    if (typeof each === 'number') {
      if (!Number.isFinite(each)) throw new InvalidConfigError(path, 'must be a finite number.');
      return;
    }
    if (typeof each === 'string') {
      if (each.length > TEXT_MAX) throw new InvalidConfigError(path, `is longer than ${TEXT_MAX} characters.`);
      return;
    }
    if (typeof each !== 'object') throw new InvalidConfigError(path, 'is not JSON.');
    if (depth >= DEPTH_MAX) throw new InvalidConfigError(path, `is nested deeper than ${DEPTH_MAX}.`);
    if (Array.isArray(each)) {
      if (each.length > ITEMS_MAX) throw new InvalidConfigError(path, `holds ${each.length} elements, which is too many.`);
      each.forEach((item, index) => walk(item, `${path}[${index}]`, depth + 1));
      return;
    }
    const keys = Object.keys(each);
    for (const key of keys) if (FORBIDDEN_KEYS.has(key)) throw new InvalidConfigError(fieldPath(path, key), 'has a name that is not allowed anywhere.');
    if (keys.length > KEYS_MAX) throw new InvalidConfigError(path, `holds ${keys.length} fields; at most ${KEYS_MAX} are allowed.`);
    for (const key of keys) walk((each as { readonly [name: string]: unknown })[key], fieldPath(path, key), depth + 1);
  };
  walk(value, field, 0);
}

/** `services[0].image`; of a field of the configuration itself only its name. */
export function fieldPath(parent: string, key: string): string {
  return parent === ROOT_FIELD ? printableName(key) : `${parent}.${printableName(key)}`;
}

/** The field that errors about a configuration as a whole name. */
export const ROOT_FIELD = 'config';

/** A name that somebody else chose, fit for a message: bounded, without control characters. */
export function printableName(name: string): string {
  const shown = name.slice(0, NAME_MAX);
  return /^[\w.-]+$/.test(shown) ? shown : JSON.stringify(shown).replaceAll(/[^ -~]/g, '?');
}

export function isPlainObject(value: unknown): value is { readonly [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
