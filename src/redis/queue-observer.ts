/**
 * What can be seen of a queue's workers over Redis: see queue-look.lua.
 *
 * 1. Looking changes nothing. What was told is noted afterwards, so that a crash between tells it again and loses nothing.
 */
import { Command, type Redis } from 'ioredis';
import { compareEntryIds } from '../protocol/ids.ts';
import { CONSUMER_PREFIX, progressKey, statusKey } from '../protocol/job-progress.ts';
import type { HeldEntry, QueueLook, QueueNote, QueueObserver } from '../protocol/queues.ts';
import { requireAll, runPipeline } from './function-library.ts';
import { postKeys } from './post-call.ts';
import { callQueues, createQueueLibrary, takenKey, type QueueCall, type QueueLibrary } from './queues.ts';

/** Entries that one look or one page tells of at most. */
const PAGE = 500;
/** The newest messages of a job's stream that are read for its outcome: it is among the last. */
const PROGRESS_MESSAGES = 5;
/** Jobs of foreign workers whose channels are heard, at most, of one stream. */
const TRACKED_MAX = 1_000;
/** A day: a worker that comes back later is a new consumer. */
const ABSENT_MS = 86_400_000;
/** Entries of other producers that stay after they are done, as in their other streams. */
const LENGTH_MAX = 10_000;

/** `client`: a write client that nobody blocks. */
export function createQueueObserver(client: Redis, library: QueueLibrary = createQueueLibrary()): QueueObserver {
  return {
    async look(streams, leaseMs) {
      const calls = streams.map(({ stream, group, fields }): QueueCall => {
        const [, posts, gate, held] = postKeys(stream);
        return { name: 'look', keys: [stream, posts, takenKey(stream), gate, held], args: [group, PAGE, leaseMs, CONSUMER_PREFIX, ...fields] };
      });
      return (await callQueues(client, library, calls)).map((reply) => lookOf(reply as LookReply));
    },

    async scanForeign({ stream, group, ownField = '' }, after, upTo, unfinished) {
      const args = [group, after, upTo, PAGE, ownField, unfinished ? 1 : 0];
      const [reply] = await callQueues(client, library, [{ name: 'scan_foreign', keys: [stream], args }]);
      const [next, ...rest] = reply as [string, ...(string | string[])[]];
      const entries: (readonly [string, readonly string[]])[] = [];
      for (let at = 0; at < rest.length; at += 2) entries.push([rest[at] as string, rest[at + 1] as string[]]);
      return { entries, next: next === '' ? null : next };
    },

    async note(notes) {
      await callQueues(client, library, notes.map(noteCall));
    },

    async ensureGroup({ stream, group }) {
      const [created] = await runPipeline(client, [new Command('xgroup', ['CREATE', stream, group, '0'], { replyEncoding: 'utf8' })]);
      // Somebody else was first, or the stream is gone again: both are as good.
      if (!(created instanceof Error)) return true;
      if (!/BUSYGROUP|requires the key to exist/.test(created.message)) requireAll([created]);
      return false;
    },

    async leftBehind(jobIds) {
      const commands = jobIds.flatMap((jobId) => [
        text('xrevrange', progressKey(jobId), '+', '-', 'COUNT', String(PROGRESS_MESSAGES)),
        text('get', statusKey(jobId)),
        text('hgetall', statusKey(jobId)),
      ]);
      const replies = await runPipeline(client, commands);
      // One of the two reads of the status finds a key of the other kind: that is an answer.
      requireAll(replies.filter((reply) => !(reply instanceof Error && reply.message.startsWith('WRONGTYPE'))));
      return jobIds.map((jobId, index) => {
        const [messages, json, hash] = replies.slice(index * 3, index * 3 + 3);
        const entries = Array.isArray(messages) ? (messages as [string, string[]][]) : [];
        // ioredis makes an object of a hash.
        const pairs = hash instanceof Error ? [] : Object.entries(hash as { [field: string]: string }).flat();
        return {
          progress: entries.map(([, fields]) => messageIn(jobId, fields)).toReversed(),
          status: typeof json === 'string' ? json : pairs.length > 0 ? pairs : null,
        };
      });
    },

    async tracked(streams) {
      const replies = requireAll(
        await runPipeline(
          client,
          streams.map(({ stream }) => text('hrandfield', takenKey(stream), String(TRACKED_MAX), 'WITHVALUES')),
        ),
      ) as string[][];
      return replies.map((flat) => {
        const found: HeldEntry[] = [];
        for (let at = 0; at < flat.length; at += 2) if (flat[at + 1] !== '') found.push(trackedOf(flat[at] as string, flat[at + 1] as string));
        return found;
      });
    },

    async tidy(streams) {
      const calls = streams.map(({ stream, group }): QueueCall => ({ name: 'tidy_queue', keys: [stream], args: [group, ABSENT_MS, LENGTH_MAX, PAGE] }));
      await callQueues(client, library, calls);
    },
  };
}

/** Workers write the message as JSON in a field of any name, or its parts as fields. */
function messageIn(jobId: string, fields: readonly string[]): string {
  const type = fields.findIndex((name, index) => index % 2 === 0 && name === 'type');
  if (type < 0) return fields.find((value, index) => index % 2 === 1 && value.startsWith('{')) ?? '';
  const data = fields.findIndex((name, index) => index % 2 === 0 && name === 'data');
  return `{"jobId":${JSON.stringify(jobId)},"type":${JSON.stringify(fields[type + 1])},"data":${data < 0 ? '{}' : fields[data + 1]}}`;
}

function text(name: string, ...args: string[]): Command {
  return new Command(name, args, { replyEncoding: 'utf8' });
}

type Held = readonly [entry: string, consumer: string, deliveries: number, fields: readonly string[]];
/** One number: there is no such stream. */
type LookReply = readonly [marked: number] | FullReply;
type FullReply = readonly [
  ...[length: number, added: number, own: number, lastId: string, scanned: string, seen: string, group: number, firstPending: string, lastDelivered: string],
  ...[held: number, gated: number, consumers: readonly (readonly [string, number, number])[], claims: readonly Held[]],
  ...[gone: readonly (readonly [string, string, number])[], through: readonly (readonly [string, readonly string[]])[], stalled: readonly Held[]],
  ...[passed: string, more: number],
];

const MISSING: QueueLook = {
  ...{
    exists: false,
    marked: false,
    length: 0,
    foreign: 0,
    lastId: '0-0',
    scanned: null,
    seen: null,
    hasGroup: false,
    firstPending: null,
    lastDelivered: '0-0',
  },
  ...{ held: 0, gated: false, consumers: [], claims: [], acknowledged: [], handedOver: [], stalled: [], passed: '0-0', more: false },
};

function lookOf(reply: LookReply): QueueLook {
  if (reply.length === 1) return { ...MISSING, marked: reply[0] === 1 };
  const [length, added, own, lastId, scanned, seen, group, firstPending, lastDelivered, held, gated, consumers, claims, gone, through, stalled, passed, more] =
    reply;
  const acknowledgedByThem = gone.filter(([, , acknowledged]) => acknowledged === 1);
  // What a worker of ours told of is passed over only when the look has passed it: until then it must stay known.
  const handedOver = gone.filter(([entry, value, acknowledged]) => acknowledged === 0 && (value !== '' || !isAfter(entry, passed)));
  return {
    ...{
      exists: true,
      marked: true,
      length,
      foreign: added - own,
      lastId,
      hasGroup: group === 1,
      lastDelivered,
      held,
      gated: gated === 1,
      passed,
      more: more === 1,
    },
    scanned: scanned === '' ? null : scanned,
    seen: seen === '' ? null : Number(seen),
    firstPending: firstPending === '' ? null : firstPending,
    consumers: consumers.map(([name, pending, idleMs]) => ({ name, pending, idleMs })),
    claims: claims.map(heldOf),
    acknowledged: [
      ...acknowledgedByThem.map(([entry, value]) => trackedOf(entry, value)),
      ...through.map(([entry, fields]) => ({ entry, consumer: '', deliveries: 0, fields })),
    ],
    handedOver: handedOver.map(([entry]) => entry),
    stalled: stalled.map(heldOf),
  };
}

function isAfter(left: string, right: string): boolean {
  return right === '' || compareEntryIds(left, right) > 0;
}

function heldOf([entry, consumer, deliveries, fields]: Held): HeldEntry {
  return { entry, consumer, deliveries, fields };
}

/** `<deliveries> <consumer>\n<fields as JSON>`, as queue-look.lua compares it. */
function trackedValue({ consumer, deliveries, fields }: HeldEntry): string {
  return `${deliveries} ${consumer}\n${JSON.stringify(fields)}`;
}

function trackedOf(entry: string, value: string): HeldEntry {
  const space = value.indexOf(' ');
  const line = value.lastIndexOf('\n');
  return { entry, consumer: value.slice(space + 1, line), deliveries: Number(value.slice(0, space)), fields: JSON.parse(value.slice(line + 1)) as string[] };
}

function noteCall({ stream: { stream, group }, claims, told, passed, scanned, seen }: QueueNote): QueueCall {
  const args = [group, passed ?? '', scanned ?? '', seen ?? '', claims.length];
  for (const claim of claims) args.push(claim.entry, claim.consumer, claim.deliveries, trackedValue(claim));
  const [key, posts] = postKeys(stream);
  return { name: 'note_look', keys: [key, posts, takenKey(stream)], args: [...args, ...told] };
}
