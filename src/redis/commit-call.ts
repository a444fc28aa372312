/**
 * A commit as the flat arguments of the `commit` function, and its answer. The layout stands at the function's head in functions.lua.
 */
import type { CommitRequest, CommitResult, TimerWrites } from '../engine/ports.ts';
import type { FunctionCall } from './function-library.ts';
import type { Keys } from './keys.ts';
import { packToText } from './pack-text.ts';
import { postSections } from './post-call.ts';

/** Dead letters kept per partition. */
export const DEAD_LETTERS_MAX = 10_000;

/** `cursorMax`: how many pack addresses the cursor's stream keeps. */
export function commitCall(keys: Keys, request: CommitRequest, cursorMax: number): FunctionCall {
  const own = keys.partition(request.partition);
  const adds = byIndex(request.index.add);
  const removes = byIndex(request.index.remove);
  const names = [own.meta, own.inbox, own.records, own.documents, own.timers, own.liveness, own.outbox, own.invoking, own.dead, keys.cursor];
  for (const { type } of request.feed) names.push(own.feed(type));
  for (const { type, path } of [...adds, ...removes]) names.push(own.index(type, path));
  const posts = postSections(request.posts);
  for (const section of posts) names.push(...section.keys);

  const args: (string | number)[] = [
    request.owner,
    request.epoch,
    request.previous,
    request.id,
    request.firedThrough ?? '',
    request.inbox,
    request.time,
    request.outbox ?? '',
    DEAD_LETTERS_MAX,
    request.partition,
    cursorMax,
    request.feed.length,
    adds.length,
    removes.length,
    request.channels.length,
    posts.length,
    posts.reduce((sum, section) => sum + section.args.length, posts.length),
  ];
  for (const section of posts) {
    args.push(section.args.length);
    for (const value of section.args) args.push(value);
  }
  pushMeta(args, request);
  const recordsAt = args.length;
  pushPairs(args, request.records);
  const documentsAt = args.length;
  pushPairs(args, request.documents);
  pushTimers(args, request.timers);
  pushTimers(args, request.liveness);
  pushAll(args, request.invoking.add);
  pushAll(args, request.invoking.remove);
  pushAll(args, request.removed);
  pushAll(args, request.deadLetters);
  for (const { type, count, pack } of request.feed) args.push(type, count, packToText(pack));
  for (const { entries } of adds) {
    args.push(entries.length * 2);
    for (const [, , key, enteredAt] of entries) args.push(enteredAt, key);
  }
  for (const { entries } of removes) {
    args.push(entries.length);
    for (const [, , key] of entries) args.push(key);
  }
  args.push(request.publications.length);
  // The function's arguments count from 1, and a section is headed by its length.
  for (const { channel, document, skip, drop } of request.publications) args.push(channel, documentsAt + 3 + 2 * document, skip, drop);
  if (request.arrivals.length === 0) args.push(0);
  else args.push(1 + request.arrivals.length * 2, keys.secret);
  for (const { type, record } of request.arrivals) args.push(keys.arrivals(type), recordsAt + 3 + 2 * record);
  args.push(request.announcements.length * 2);
  for (const [channel, message] of request.announcements) args.push(channel, message);
  args.push(...request.channels);
  return { name: 'commit', keys: names, args };
}

export function readCommitReply(reply: unknown): CommitResult {
  const [code, value, ...heard] = reply as [number, number | string, ...string[]];
  switch (code) {
    case 1:
    case 5:
      return { kind: 'committed', time: Number(value), repeated: false, refused: code === 5, heard };
    case 2:
    case 6:
      return { kind: 'committed', time: Number(value), repeated: true, refused: code === 6, heard };
    case 3:
      return { kind: 'diverged', stored: String(value) };
    case 4:
      return { kind: 'overtaken', entry: String(value) };
    default:
      return { kind: 'fenced' };
  }
}

function pushMeta(args: (string | number)[], request: CommitRequest): void {
  const countAt = args.push(0) - 1;
  for (const [stream, position] of Object.entries(request.sources)) {
    args.push(`source:${stream}`, `${position.id} ${position.watermark} ${position.observed}`);
  }
  for (const [partition, number] of Object.entries(request.applied)) args.push(`applied:${partition}`, number);
  for (const [partition, number] of Object.entries(request.sent)) args.push(`sent:${partition}`, number);
  args[countAt] = args.length - countAt - 1;
}

function pushPairs(args: (string | number)[], pairs: readonly (readonly [string, string])[]): void {
  args.push(pairs.length * 2);
  for (const [key, value] of pairs) args.push(key, value);
}

function pushTimers(args: (string | number)[], { set, remove }: TimerWrites): void {
  args.push(set.length * 2);
  for (const [member, due] of set) args.push(due, member);
  pushAll(args, remove);
}

function pushAll(args: (string | number)[], values: readonly string[]): void {
  args.push(values.length);
  for (const value of values) args.push(value);
}

interface IndexGroup<Entry> {
  readonly type: string;
  readonly path: string;
  readonly entries: Entry[];
}

/** Groups by the index that an entry belongs to, without making the index's name for each entry. */
function byIndex<Entry extends readonly [type: string, path: string, ...rest: unknown[]]>(entries: readonly Entry[]): readonly IndexGroup<Entry>[] {
  const groups: IndexGroup<Entry>[] = [];
  const byPath = new Map<string, IndexGroup<Entry>[]>();
  for (const entry of entries) {
    const [type, path] = entry;
    let samePath = byPath.get(path);
    if (samePath === undefined) byPath.set(path, (samePath = []));
    let group = samePath.find((one) => one.type === type);
    if (group === undefined) {
      group = { type, path, entries: [] };
      samePath.push(group);
      groups.push(group);
    }
    group.entries.push(entry);
  }
  return groups;
}
