/**
 * What a dead letter may quote of a refused entry.
 *
 * 1. No value of a field whose name sounds like a secret, wherever it stands, spelled plainly or with escapes.
 * 2. Of an entry's fields only those of the contract are quoted; of the others the names.
 */
import { EXCERPT_LENGTH } from '../protocol/dead-letter.ts';
import type { EntryFields } from '../protocol/source.ts';

/** Quoted of a payload before secrets are looked for: a few times what is kept in the end. Characters. */
const QUOTED_MAX = 4_096;
const QUOTED_FIELDS: ReadonlySet<string> = new Set(['nodeId', 'node_id', 'orgId', 'org_id', 'timestamp', 'payload']);
const SECRET_NAME = /code|token|secret|passw|passcode|authkey|api_?key|credential/i;
/** A key and its value in a text that need not be JSON: texts, also cut off, lists, objects and bare values. */
const KEY_AND_VALUE = /([\w.-]{1,64})(["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|\[[^\]]*\]?|\{[^}]*\}?|[^\s,;}\]]+)/g;

/** `quotedFields`: the contract's own; default those of a node's status. (2) */
export function excerptOf(fields: EntryFields, quotedFields: ReadonlySet<string> = QUOTED_FIELDS): string {
  const quoted: { [field: string]: string } = Object.create(null);
  for (let index = 0; index + 1 < fields.length && index < 32; index += 2) {
    const name = (fields[index] as string).slice(0, 64);
    const value = fields[index + 1] as string;
    quoted[name] = quotedFields.has(name) ? redacted(value.slice(0, QUOTED_MAX)) : '[not quoted]';
  }
  return JSON.stringify(quoted).slice(0, EXCERPT_LENGTH);
}

function redacted(text: string): string {
  if (text.includes('\\u') || text.includes('\\x')) return `[${text.length} characters with escapes, not quoted]`; // (1) An escape can spell a secret's name.
  return text.replace(KEY_AND_VALUE, (all, name: string, between: string, value: string) => {
    if (SECRET_NAME.test(name)) return `${name}${between}"[redacted]"`;
    return value.startsWith('{') || value.startsWith('[') ? `${name}${between}${redacted(value)}` : all;
  });
}
