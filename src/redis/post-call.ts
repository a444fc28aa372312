/**
 * Posts as the flat arguments of the `post` function. The layout stands at the function's head in queue-functions.lua.
 *
 * 1. One call takes the entries of one stream, in their order. A later call of a stream must not be made when an earlier one was
 *    refused: the function would hold the entries of the earlier one, when they are repeated, for entries that it has taken in.
 */
import type { Post } from '../protocol/outlet.ts';
import type { FunctionCall } from './function-library.ts';
import { wavesOf } from './waves.ts';

/** The engine's library; in this order, for the later files use what the earlier define. */
export const ENGINE_LIBRARY_FILES = ['queue-functions.lua', 'queue-gate.lua', 'told-functions.lua', 'functions.lua'] as const;
/** The library of the queues. */
export const QUEUE_LIBRARY_FILES = ['queue-functions.lua', 'queue-gate.lua', 'queue-look.lua'] as const;
export type QueueFunctionName = 'post' | 'pump' | 'set_gate' | 'withdraw' | 'view_queue' | 'look' | 'scan_foreign' | 'note_look' | 'tidy_queue';

/** One call holds at most so many entries and bytes, so that it never blocks Redis for more than a few ms. */
const POST_ENTRIES_MAX = 500;
const POST_BYTES_MAX = 1_048_576;

/** The keys that stand beside a stream. The braces put them into the stream's own hash slot. */
export function postKeys(stream: string): readonly [stream: string, posts: string, gate: string, held: string, entries: string] {
  return [stream, `{${stream}}:posts`, `{${stream}}:gate`, `{${stream}}:held`, `{${stream}}:held:entries`];
}

/** Posts of one stream and one length, for a commit. `args`: the arguments of `post`. */
export interface PostSection {
  readonly keys: readonly string[];
  readonly args: (string | number)[];
}

/** Groups the posts of a commit, which is bounded as a whole; those of a stream stay in their order. */
export function postSections(posts: readonly Post[]): readonly PostSection[] {
  const sections: PostSection[] = [];
  const open = new Map<string, PostSection>();
  for (const post of posts) {
    const maxLength = post.maxLength ?? '';
    let section = open.get(post.stream);
    if (section === undefined || section.args[0] !== maxLength) {
      section = { keys: postKeys(post.stream), args: [maxLength] };
      open.set(post.stream, section);
      sections.push(section);
    }
    pushPost(section.args, post);
  }
  return sections;
}

function pushPost(args: (string | number)[], { from, number, priority, member, fields }: Post): void {
  args.push(from, number, priority ?? '-', member ?? '', fields.length);
  for (const field of fields) args.push(field);
}

/** Entries of one stream and one length, in order. */
export interface PostBatch {
  readonly stream: string;
  /** Places in the caller's list. */
  readonly positions: readonly number[];
  readonly call: FunctionCall<'post'>;
}

/** Cuts posts into calls: in order per stream, none too large. */
export function postBatches(posts: readonly Post[]): readonly PostBatch[] {
  const open = new Map<string, { maxLength: number | undefined; positions: number[]; args: (string | number)[]; bytes: number }>();
  const batches: PostBatch[] = [];
  for (const [position, post] of posts.entries()) {
    const bytes = post.fields.reduce((sum, field) => sum + field.length, 0);
    let batch = open.get(post.stream);
    if (!batch || batch.maxLength !== post.maxLength || batch.positions.length >= POST_ENTRIES_MAX || batch.bytes + bytes > POST_BYTES_MAX) {
      batch = { maxLength: post.maxLength, positions: [], args: [post.maxLength ?? ''], bytes: 0 };
      open.set(post.stream, batch);
      batches.push({ stream: post.stream, positions: batch.positions, call: { name: 'post', keys: postKeys(post.stream), args: batch.args } });
    }
    batch.positions.push(position);
    batch.bytes += bytes;
    pushPost(batch.args, post);
  }
  return batches;
}

/** Invariant 1. `send` makes its calls in one pipeline; an Error stands in the place of one that failed. */
export async function sendPosts(posts: readonly Post[], send: (calls: readonly FunctionCall<'post'>[]) => Promise<unknown[]>): Promise<(Error | undefined)[]> {
  const results: (Error | undefined)[] = posts.map(() => undefined);
  const failed = new Map<string, Error>();
  for (const wave of wavesOf(postBatches(posts), ({ stream }) => stream)) {
    const open = wave.filter(({ stream }) => !failed.has(stream));
    const replies = open.length === 0 ? [] : await send(open.map(({ call }) => call));
    for (const [index, { stream }] of open.entries()) if (replies[index] instanceof Error) failed.set(stream, replies[index]);
    for (const { stream, positions } of wave) for (const position of positions) results[position] = failed.get(stream);
  }
  return results;
}
