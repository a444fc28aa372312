/**
 * `npm run bench [-- --json] [-- --only=heartbeats,transitions] [-- --runs=3]`
 *
 * Each figure is the median of several runs and stands beside its reference of the same run: on a shared machine a rate
 * alone says little. Ends with 1 when a goal was missed and `--strict` is given.
 */
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { heartbeats } from './heartbeats.ts';
import { printTable, type Figure } from './figures.ts';
import { transitions } from './transitions.ts';

const BENCHES: { readonly [name: string]: { readonly title: string; readonly run: (runs: number) => Promise<readonly Figure[]> } } = {
  heartbeats: { title: 'Heartbeats of 760 bytes through the whole engine', run: heartbeats },
  transitions: { title: 'A job of three events, 64 partitions, one engine process', run: transitions },
};

const { values } = parseArgs({
  options: { json: { type: 'boolean' }, strict: { type: 'boolean' }, only: { type: 'string' }, runs: { type: 'string', default: '3' } },
});
const names = values.only?.split(',') ?? Object.keys(BENCHES);
const results: { [name: string]: readonly Figure[] } = {};
for (const name of names) {
  const bench = BENCHES[name];
  if (bench === undefined) throw new Error(`There is no benchmark "${name}". There are: ${Object.keys(BENCHES).join(', ')}.`);
  results[name] = await bench.run(Number(values.runs));
  if (!values.json) printTable(bench.title, results[name]);
}
if (values.json) {
  const machine = { node: process.version, cpus: cpus().length, model: cpus()[0]?.model ?? '', memoryBytes: totalmem() };
  console.log(JSON.stringify({ machine, results }, null, 2));
}
const missed = Object.values(results).flatMap((figures) => figures.filter(({ goal }) => goal?.reached === false));
if (values.strict && missed.length > 0) process.exitCode = 1;
