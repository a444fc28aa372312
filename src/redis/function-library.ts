/**
 * A Function library in Redis: its text, the names of its functions, and calling them in one pipeline.
 *
 * 1. Library and functions carry a hash of the text: two versions of Castellan never overwrite each other's functions,
 *    and several libraries stand side by side.
 * 2. When Redis lost the library (FUNCTION FLUSH, a new master), it is loaded again and only the calls that
 *    found no function are made again: they had not run.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Command, type Redis } from 'ioredis';
import { RedisUnusableError } from '../protocol/errors.ts';

export type FunctionName = 'commit' | 'post' | 'look' | 'append' | 'acquire' | 'renew' | 'release' | 'acknowledge' | 'trim' | 'describe';

/** The functions of functions.lua. Another library has names of its own. */
export interface FunctionCall<Name extends string = FunctionName> {
  readonly name: Name;
  readonly keys: readonly string[];
  readonly args: readonly (string | number)[];
  /** It writes nothing: a user with read-only rights to its keys may call it. */
  readonly readsOnly?: true;
}

export interface FunctionLibrary<Name extends string = FunctionName> {
  readonly name: string;
  load(client: Redis): Promise<void>;
  /** The command for a pipeline. */
  command(call: FunctionCall<Name>): Command;
  /** Makes the calls in one pipeline; a call that failed has an Error in its place. */
  call(client: Redis, calls: readonly FunctionCall<Name>[]): Promise<unknown[]>;
}

/** `files`: Lua texts of this folder that are one library together, behind common.lua. They register their functions as `@LIBRARY@_<name>`. */
export function createFunctionLibrary<Name extends string = FunctionName>(files: readonly string[]): FunctionLibrary<Name> {
  const template = ['common.lua', ...files].map((file) => readFileSync(new URL(`./${file}`, import.meta.url), 'utf8')).join('\n');
  const name = `castellan_${createHash('sha256').update(template).digest('hex').slice(0, 10)}`;
  const text = `#!lua name=${name}\n${template.replaceAll('@LIBRARY@', name)}`;

  const load = async (client: Redis): Promise<void> => {
    await client.call('FUNCTION', 'LOAD', 'REPLACE', text);
  };
  const command = (call: FunctionCall<Name>): Command =>
    new Command(call.readsOnly ? 'fcall_ro' : 'fcall', [`${name}_${call.name}`, call.keys.length, ...call.keys].concat(call.args), { replyEncoding: 'utf8' });
  const send = (client: Redis, calls: readonly FunctionCall<Name>[]): Promise<unknown[]> => runPipeline(client, calls.map(command));

  return {
    name,
    load,
    command,
    async call(client, calls) {
      const replies = await send(client, calls);
      const missing = replies.flatMap((reply, index) => (isFunctionMissing(reply) ? [index] : []));
      if (missing.length === 0) return replies;
      await load(client);
      const again = await send(
        client,
        missing.map((index) => calls[index] as FunctionCall<Name>),
      );
      missing.forEach((index, position) => (replies[index] = again[position]));
      return replies;
    },
  };
}

/** One write, one reply for each command; an Error in the place of a command that failed. */
export async function runPipeline(client: Redis, commands: readonly Command[]): Promise<unknown[]> {
  if (commands.length === 0) return [];
  const [only] = commands;
  // A pipeline for one command costs a quarter more than the command.
  if (commands.length === 1 && only !== undefined) return [await (client.sendCommand(only) as Promise<unknown>).catch((error: unknown) => error)];
  // sendCommand is missing in the declarations; it is how every method of a pipeline ends.
  const pipeline = client.pipeline() as ReturnType<Redis['pipeline']> & { sendCommand(command: Command): unknown };
  for (const command of commands) pipeline.sendCommand(command);
  const results = (await pipeline.exec()) ?? [];
  return results.map(([error, reply]) => error ?? reply);
}

/** The replies, or the first error among them as RedisUnusableError. For reads: nothing was changed. */
export function requireAll(replies: unknown[]): unknown[] {
  const failed = replies.find((reply) => reply instanceof Error);
  if (failed instanceof Error) throw new RedisUnusableError(`Redis could not be read: ${failed.message}`, { cause: failed });
  return replies;
}

export function isFunctionMissing(reply: unknown): boolean {
  return reply instanceof Error && reply.message.includes('Function not found');
}
