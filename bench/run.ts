/**
 * `npm run bench [-- --json] [-- --only=heartbeats,transitions] [-- --runs=3]`
 *
 * Each figure is the median of several runs and stands beside its reference of the same run: on a shared machine a rate
 * alone says little. Ends with 1 when a goal was missed and `--strict` is given.
 */
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { agent } from './agent.ts';
import { fleet } from './fleet.ts';
import { heartbeats } from './heartbeats.ts';
import { jobs } from './jobs.ts';
import { printTable, type Figure } from './figures.ts';
import { latency } from './latency.ts';
import { memory } from './memory.ts';
import { transitions } from './transitions.ts';

const BENCHES: { readonly [name: string]: { readonly title: string; readonly run: (runs: number) => Promise<readonly Figure[]> } } = {
  heartbeats: { title: 'Heartbeats of 760 bytes through the whole engine', run: heartbeats },
  transitions: { title: 'A job of three events, 64 partitions, one engine process', run: transitions },
  jobs: { title: 'A whole job life: submitted, taken by a worker, done, with its notifications', run: jobs },
  latency: { title: 'Latency at 1,000 events a second', run: latency },
  memory: { title: 'Redis memory of 10,000 nodes', run: memory },
  agent: { title: 'The agent on its machine (one run of a minute)', run: agent },
  fleet: { title: '100,000 simulated nodes, a beat each every 30 s (one run)', run: fleet },
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
