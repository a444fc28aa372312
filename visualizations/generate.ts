/**
 * `npm run visualize`: writes a description of every machine into visualizations/diagrams.
 * With `--check` it writes nothing and exits with 1 when a file is missing, stale or nobody's.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { alertType } from '../machines/alert/definition.ts';
import { deviceType } from '../machines/device/definition.ts';
import { fleetType } from '../machines/fleet/definition.ts';
import { jobType } from '../machines/job/definition.ts';
import { nodeType } from '../machines/node/definition.ts';
import { scheduleType } from '../machines/schedule/definition.ts';
import { stateDiagram } from './state-diagram.ts';

const FOLDER = join(import.meta.dirname, 'diagrams');

/** Nothing is run here. */
const nothing = (): Promise<never> => Promise.reject(new Error('Machines are only drawn here.'));

function generated(): ReadonlyMap<string, string> {
  const types = [nodeType(), fleetType(), jobType({ place: nothing }), scheduleType({ nextTick: nothing }), deviceType(), alertType()];
  return new Map(types.map(({ type, machine }) => [`${type}.md`, stateDiagram(type, machine)]));
}

async function write(files: ReadonlyMap<string, string>): Promise<void> {
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(FOLDER, { recursive: true });
  for (const [name, text] of files) await writeFile(join(FOLDER, name), text);
  console.log(`Wrote ${[...files.keys()].join(', ')} to visualizations/diagrams.`);
}

/** One line a fault. */
async function faults(files: ReadonlyMap<string, string>): Promise<readonly string[]> {
  const present = await readdir(FOLDER).catch(() => []);
  const foreign = present.filter((name) => !files.has(name)).map((name) => `${name} belongs to no machine`);
  const stale: string[] = [];
  for (const [name, text] of files) {
    const found = await readFile(join(FOLDER, name), 'utf8').catch(() => undefined);
    if (found !== text) stale.push(`${name} is ${found === undefined ? 'missing' : 'stale'}`);
  }
  return [...foreign, ...stale];
}

if (process.argv.includes('--check')) {
  const found = await faults(generated());
  for (const fault of found) console.error(`visualizations/diagrams: ${fault}; run npm run visualize.`);
  process.exitCode = found.length === 0 ? 0 : 1;
} else {
  await write(generated());
}
