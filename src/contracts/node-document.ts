/**
 * The document of a node: its newest status and when it arrived.
 *
 * The text is `{"at":<ms>,"status":<payload>}`, where the payload stands as it came: it is put together by joining
 * strings, at every beat, and taken apart without parsing when it is passed on. `at` is the milliseconds of the
 * stream entry's id, so Redis's clock says when a node was last seen, and a touch need not store it anywhere else.
 */
import { millisecondsOf } from '../protocol/ids.ts';
import type { Json, JsonObject } from '../protocol/json.ts';

const STATUS_FIELD = ',"status":';

export function nodeDocument(entryId: string, payload: string): string {
  return `{"at":${millisecondsOf(entryId)}${STATUS_FIELD}${payload}}`;
}

/** Bytes of the document around the status: `{"at":…,"status":` before it, `}` behind it. All of them ASCII. */
export function boundsOfStatus(document: string): { readonly skip: number; readonly drop: number } {
  return { skip: document.indexOf(STATUS_FIELD) + STATUS_FIELD.length, drop: 1 };
}

/** The newest status in the documented shape (the inner object, snake_case), with unknown fields kept. */
export interface NodeDocument {
  /** ms since the epoch, by Redis's clock. */
  readonly lastSeenAt: number;
  readonly status: JsonObject;
}

export function readNodeDocument(document: string): NodeDocument {
  const { at, status } = JSON.parse(document) as { readonly at: number; readonly status: JsonObject };
  const inner = isObject(status['status']) ? status['status'] : status;
  return { lastSeenAt: at, status: inDocumentedSpelling(inner) };
}

/** The groups whose fields are known by name; below them names may be anything and are left alone. */
const GROUPS = ['node', 'system', 'gpu', 'services'];

function inDocumentedSpelling(status: JsonObject): JsonObject {
  const spelled: { [field: string]: Json } = { ...status };
  for (const group of GROUPS) {
    const value = status[group];
    if (Array.isArray(value)) spelled[group] = value.map((each: Json) => (isObject(each) ? inSnakeCase(each) : each));
    else if (isObject(value)) spelled[group] = inSnakeCase(value);
  }
  return spelled;
}

/** The documented spelling wins where both are given. */
function inSnakeCase(fields: JsonObject): JsonObject {
  const spelled: { [field: string]: Json } = {};
  for (const [name, value] of Object.entries(fields)) {
    const documented = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    if (documented === name || !(documented in fields)) spelled[documented] = value;
  }
  return spelled;
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
