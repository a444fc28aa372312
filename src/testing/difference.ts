/** The first difference of two JSON-like values, as text for a failed test. */

/** As long as a person reads on in a message. */
const QUOTED_LENGTH_MAX = 200;

/** `left` and `right` differ at a path below `at`; undefined when they are equal. A property that is undefined counts as absent. */
export function difference(left: unknown, right: unknown, at: string): string | undefined {
  if (Object.is(left, right)) return undefined;
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null || Array.isArray(left) !== Array.isArray(right)) {
    return `${at} is ${quote(left)} against ${quote(right)}`;
  }
  const a = left as Readonly<Record<string, unknown>>;
  const b = right as Readonly<Record<string, unknown>>;
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const found = difference(a[key], b[key], Array.isArray(left) ? `${at}[${key}]` : `${at}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function quote(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, QUOTED_LENGTH_MAX);
}
