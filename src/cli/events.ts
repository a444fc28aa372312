/**
 * `castellan events`: the committed transitions as they happen.
 *
 * 1. A connection that breaks is opened again after the last cursor, so that nothing is missed; the waiting grows and is spread.
 * 2. A cursor that is not held any more ends the command: silently going on from now would hide the gap.
 */
import { Command } from 'commander';
import type { TransitionView } from '../protocol/control-plane.ts';
import { ControlPlaneRefusedError, ControlPlaneUnreachableError } from '../protocol/errors.ts';
import { controlPlaneClient, type ControlPlaneClient } from './control-plane-client.ts';
import { environmentWith } from './settings.ts';
import { untilAskedToStop } from './signals.ts';
import { jsonLine, printable, valueText } from './table.ts';

const RETRY_MS_FIRST = 500;
const RETRY_MS_MAX = 15_000;

interface EventsFlags {
  readonly types?: string;
  readonly cursor?: string;
  readonly json?: boolean;
}

export function eventsCommand(): Command {
  return new Command('events')
    .description('follow the committed transitions; Ctrl-C ends')
    .option('--types <types>', 'only these actor types, separated by commas')
    .option('--cursor <cursor>', 'go on after this cursor instead of from now')
    .option('--json', 'one JSON object a line with its cursor, for programs')
    .action(async (flags: EventsFlags) => {
      const ending = new AbortController();
      void untilAskedToStop().then(() => ending.abort());
      // A reader that has enough (`castellan events | head`) closes the pipe.
      process.stdout.once('error', () => ending.abort());
      await follow(await controlPlaneClient(environmentWith({})), flags, ending.signal);
    });
}

async function follow(client: ControlPlaneClient, { types, cursor: first, json }: EventsFlags, signal: AbortSignal): Promise<void> {
  let cursor = first;
  let retryMs = RETRY_MS_FIRST;
  let connected = false;
  while (!signal.aborted) {
    try {
      for await (const item of client.follow({ types, cursor }, signal)) {
        ({ cursor } = item);
        connected = true;
        retryMs = RETRY_MS_FIRST;
        console.log(json ? jsonLine(item) : transitionLine(item.transition));
      }
      connected = true;
    } catch (error) {
      // What cannot be reached at the very first try is rather a wrong address than an outage.
      const outage = connected && (error instanceof ControlPlaneUnreachableError || (error instanceof ControlPlaneRefusedError && error.retryable));
      if (signal.aborted) return;
      if (!outage) throw error;
    }
    await pause(retryMs * (0.5 + Math.random()), signal);
    retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
  }
}

/** `2030-01-01T00:00:00.000Z  node/gpu-1 #3  connection.online → connection.degraded  (timer …)` */
export function transitionLine({ at, type, id, revision, from, to, event, cause }: TransitionView): string {
  const before = valueText(from).split(', ');
  const after = valueText(to).split(', ');
  const left = before.filter((part) => part !== '' && !after.includes(part)).join(', ');
  const entered = after.filter((part) => !before.includes(part)).join(', ');
  const change = left === '' && entered === '' ? '(same state)' : `${left || '·'} → ${entered || '·'}`;
  return printable(`${at}  ${type}/${id} #${revision}  ${change}  (${event.type} from ${cause.source})`);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  return promise;
}
