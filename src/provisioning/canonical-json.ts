/**
 * One text for one JSON value, whoever wrote it: what is signed.
 *
 * Keys sorted by UTF-16 code units, no spaces, numbers and texts as `JSON.stringify` writes them: RFC 8785 for values that came from JSON.
 */

/** A configuration at all its limits is some 30 KB. */
const LENGTH_MAX = 131_072;
/** The envelope of a configuration is six deep. */
const DEPTH_MAX = 16;

/** Undefined for what is no JSON, too deep or too long: there is no signature of such a value. */
export function canonicalJson(value: unknown): string | undefined {
  let length = 0;
  const write = (each: unknown, depth: number): string => {
    if (depth > DEPTH_MAX) throw new NotCanonical();
    if (typeof each === 'number' && !Number.isFinite(each)) throw new NotCanonical();
    if (each === null || typeof each === 'number' || typeof each === 'string' || typeof each === 'boolean') return count(JSON.stringify(each));
    if (typeof each !== 'object') throw new NotCanonical();
    if (Array.isArray(each)) return `[${each.map((item) => write(item, depth + 1)).join(',')}]`;
    // By code units, which is the canonical order.
    const keys = Object.keys(each).sort();
    return `{${keys.map((key) => `${count(JSON.stringify(key))}:${write((each as { readonly [name: string]: unknown })[key], depth + 1)}`).join(',')}}`;
  };
  const count = (text: string): string => {
    length += text.length + 1;
    if (length > LENGTH_MAX) throw new NotCanonical();
    return text;
  };
  try {
    return write(value, 0);
  } catch (error) {
    if (error instanceof NotCanonical) return undefined;
    throw error;
  }
}

/** Ends the walk; never leaves this file. */
class NotCanonical extends Error {}
