/**
 * A round's reads as commands of one pipeline, and their answers. Redis's clock comes first: what was appended before it is in the answer.
 *
 * 1. A round that looks at little is one call of `look`, which also answers what is stored of the actors: on a quiet machine each command
 *    costs as much as what it reads. Of much, the plain commands are cheaper.
 * 2. A source whose fields are bytes is read by a command of its own: the encoding of an answer is one for a whole call.
 */
import type { Command } from 'ioredis';
import type { ReadRequest, ReadResult, StoredActor, StreamEntry } from '../engine/ports.ts';
import type { ActorKey } from '../protocol/ids.ts';
import { bytesCommand, command, milliseconds } from './commands.ts';
import type { FunctionLibrary } from './function-library.ts';
import type { Keys } from './keys.ts';

type Source = ReadRequest['sources'][number];
type SourceRead = ReadResult['sources'][number];

export function readCommands(keys: Keys, library: Pick<FunctionLibrary, 'command'>, request: ReadRequest): readonly Command[] {
  const { inboxes, sources, count, sourceCount } = request;
  if (!request.withActors) {
    const reads = inboxes.map(({ partition, after }) => command('xrange', keys.partition(partition).inbox, `(${after}`, '+', 'COUNT', String(count)));
    return [command('time'), ...reads, ...sources.flatMap((source) => sourceCommands(source, sourceCount))];
  }
  const texts = sources.filter(isText);
  const names = inboxes.flatMap(({ partition }) => [keys.partition(partition).inbox, keys.partition(partition).records]);
  const look = library.command({
    name: 'look',
    readsOnly: true,
    keys: [...names, ...texts.map(({ stream }) => stream)],
    args: [inboxes.length, count, sourceCount, ...inboxes.map(({ after }) => after), ...texts.map(({ after }) => after)],
  });
  return [look, ...sources.filter((source) => !isText(source)).flatMap((source) => sourceCommands(source, sourceCount))];
}

/** `replies`: those to {@link readCommands}, none an error. */
export function readResult(request: ReadRequest, replies: readonly unknown[]): ReadResult {
  const { inboxes, sources } = request;
  if (!request.withActors) {
    const [time, ...rest] = replies as [readonly (string | number)[], ...StreamEntry[][]];
    return {
      time: milliseconds(time),
      inboxes: rest.slice(0, inboxes.length),
      actors: inboxes.map(() => []),
      sources: sources.map((_, index) => sourceRead(rest, inboxes.length + index * 2)),
    };
  }
  const [[time, ...looked], ...bytes] = replies as [Looked, ...StreamEntry[][]];
  const texts = looked.slice(inboxes.length) as (readonly [entries: StreamEntry[], firstId: string | null])[];
  let [nextText, nextBytes] = [0, 0];
  return {
    time,
    inboxes: inboxes.map((_, index) => (looked[index] as InboxLook)[0]),
    actors: inboxes.map((_, index) => actorsIn(looked[index] as InboxLook)),
    sources: sources.map((source): SourceRead => {
      if (!isText(source)) return sourceRead(bytes, 2 * nextBytes++);
      const [entries, firstId] = texts[nextText++] ?? [[], null];
      return { entries, firstId };
    }),
  };
}

type InboxLook = readonly [entries: StreamEntry[], ...actors: (string | null)[]];
type Looked = readonly [time: number, ...(readonly unknown[])[]];

function actorsIn([, ...flat]: InboxLook): readonly StoredActor[] {
  return Array.from({ length: flat.length / 2 }, (_, index) => ({ key: flat[index * 2] as ActorKey, record: flat[index * 2 + 1] ?? null }));
}

function isText({ binary }: Source): boolean {
  return binary !== true;
}

function sourceCommands({ stream, after, binary }: Source, count: number): readonly Command[] {
  const entries = ['xrange', stream, `(${after}`, '+', 'COUNT', String(count)] as const;
  return [binary ? bytesCommand(...entries) : command(...entries), command('xrange', stream, '-', '+', 'COUNT', '1')];
}

function sourceRead(replies: readonly StreamEntry[][], at: number): SourceRead {
  return { entries: replies[at] ?? [], firstId: replies[at + 1]?.[0]?.[0] ?? null };
}
