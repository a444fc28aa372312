/**
 * The program `castellan`: the commands of this folder, one file each, and what is said when one fails.
 *
 * A command's file is loaded only when it is asked for: the agent need not hold the control plane in memory.
 */
import { Command } from 'commander';
import { CastellanError } from '../protocol/errors.ts';
import { loadEnvironmentFile } from './settings.ts';
import { version } from './version.ts';

/** In the order of `--help`. */
const COMMANDS: { readonly [name: string]: () => Promise<Command> } = {
  start: async () => (await import('./start.ts')).startCommand((await import('./control-plane.ts')).startControlPlane),
  serve: async () => (await import('./serve.ts')).serveCommand((await import('./control-plane.ts')).startControlPlane),
  work: async () => (await import('./work.ts')).workCommand(),
  init: async () => (await import('./init.ts')).initCommand(),
  token: async () => (await import('./token.ts')).tokenCommand(),
  nodes: async () => (await import('./nodes.ts')).nodesCommand(),
  jobs: async () => (await import('./jobs.ts')).jobsCommand(),
  run: async () => (await import('./run.ts')).runCommand(),
  queues: async () => (await import('./queues.ts')).queuesCommand(),
  schedules: async () => (await import('./schedules.ts')).schedulesCommand(),
  actors: async () => (await import('./actors.ts')).actorsCommand(),
  events: async () => (await import('./events.ts')).eventsCommand(),
  'dead-letters': async () => (await import('./dead-letters.ts')).deadLettersCommand(),
  doctor: async () => (await import('./doctor.ts')).doctorCommand(),
};

export async function main(argv: readonly string[] = process.argv): Promise<void> {
  try {
    loadEnvironmentFile();
    const program = new Command('castellan')
      .description('Durable XState machines over Redis Streams, and a live node fleet built on them.')
      .version(version())
      .showHelpAfterError('(add --help for what it takes)');
    for (const command of await commandsFor(argv[2])) program.addCommand(command);
    await program.parseAsync(argv);
  } catch (error) {
    console.error(describeFailure(error));
    process.exitCode = 1;
  }
}

/** The one that is named, or all of them for the help. */
async function commandsFor(name: string | undefined): Promise<readonly Command[]> {
  const load = name === undefined || !Object.hasOwn(COMMANDS, name) ? undefined : COMMANDS[name];
  return load === undefined ? await Promise.all(Object.values(COMMANDS).map((each) => each())) : [await load()];
}

/** An error of ours says what to do next; any other is a bug, and its stack is what helps. */
function describeFailure(error: unknown): string {
  if (error instanceof CastellanError) return `castellan: ${error.message}`;
  return `castellan: unexpected failure\n${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

if (import.meta.main) await main();
