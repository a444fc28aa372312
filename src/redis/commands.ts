/** Commands of pipelines, and what their answers mean. */
import { Command } from 'ioredis';

export function command(name: string, ...args: string[]): Command {
  return new Command(name, args, { replyEncoding: 'utf8' });
}

/** Its answer's texts have one character a byte. */
export function bytesCommand(name: string, ...args: string[]): Command {
  return new Command(name, args, { replyEncoding: 'latin1' });
}

/** What TIME answers, as ms since the epoch. */
export function milliseconds(time: readonly (string | number)[]): number {
  return Number(time[0]) * 1_000 + Math.floor(Number(time[1]) / 1_000);
}
