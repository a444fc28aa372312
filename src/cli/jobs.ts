/** `castellan jobs`: jobs as a table, one of them, its log; cancelled, retried. */
import { Command, Option } from 'commander';
import { JOB_STATES, type JobLogLine, type JobView } from '../protocol/job.ts';
import type { Json } from '../protocol/json.ts';
import { controlPlaneClient } from './control-plane-client.ts';
import { readDurationMs } from './durations.ts';
import { environmentWith } from './settings.ts';
import { age, jsonLine, printable, renderTable } from './table.ts';

const REASON_SHOWN = 60;
const TITLES = ['job', 'type', 'state', 'since', 'progress', 'attempt', 'node', 'queue', 'reason'];

interface JobsFlags {
  readonly state?: string;
  readonly type?: string;
  readonly queue?: string;
  readonly node?: string;
  readonly olderThan?: string;
  readonly json?: boolean;
}

export function jobsCommand(): Command {
  return new Command('jobs')
    .description('list jobs; show, cancel or retry one; print its log')
    .addOption(new Option('--state <state>', 'only jobs in this state').choices(JOB_STATES))
    .option('--type <type>', 'only jobs of this type')
    .option('--queue <queue>', 'only jobs of this queue, such as jobs:v1:gpu-general')
    .option('--node <id>', 'only jobs that this node has or had')
    .option('--older-than <duration>', 'only jobs that have been in their state for longer, such as 5m')
    .option('--json', 'JSON, one object a line, for programs')
    .action(list)
    .addCommand(
      new Command('show')
        .description('show one job')
        .argument('<id>')
        .option('--json', 'JSON, for programs')
        .action(async (id: string, _flags: object, command: Command) => {
          const job = await (await controlPlaneClient(environmentWith({}))).get<JobView>(pathOf(id));
          console.log(wantsJson(command) ? JSON.stringify(job, null, 2) : factsOf(job, Date.now()));
        }),
    )
    .addCommand(
      new Command('cancel')
        .description('end a job; a worker that has it is told')
        .argument('<id>')
        .option('--reason <text>', 'kept with the job')
        .action(async (id: string, { reason }: { readonly reason?: string }) => {
          const client = await controlPlaneClient(environmentWith({}));
          const job = await client.post<JobView>(`${pathOf(id)}/cancel`, reason === undefined ? {} : { reason });
          console.log(`Job ${job.jobId} is ${job.state}.`);
        }),
    )
    .addCommand(
      new Command('retry')
        .description('hand a job in error or cancelled out again')
        .argument('<id>')
        .action(async (id: string) => {
          const job = await (await controlPlaneClient(environmentWith({}))).post<JobView>(`${pathOf(id)}/retry`);
          console.log(`Job ${job.jobId} is ${job.state}.`);
        }),
    )
    .addCommand(
      new Command('log')
        .description('print what the job’s workers wrote')
        .argument('<id>')
        .option('--json', 'JSON, one object a line, for programs')
        .action(async (id: string, _flags: object, command: Command) => {
          const client = await controlPlaneClient(environmentWith({}));
          let lines = 0;
          for await (const line of client.list<JobLogLine>(`${pathOf(id)}/log`)) {
            lines++;
            console.log(wantsJson(command) ? jsonLine(line) : logText(line));
          }
          if (lines === 0 && !wantsJson(command)) console.log('No lines. A worker writes one with log(); nothing is kept before.');
        }),
    );
}

async function list({ state, type, queue, node, olderThan, json }: JobsFlags): Promise<void> {
  const client = await controlPlaneClient(environmentWith({}));
  const query = { state, type, queue, node, olderThan: olderThan === undefined ? undefined : readDurationMs(olderThan, '--older-than') };
  const rows: (readonly string[])[] = [];
  for await (const job of client.list<JobView>('/api/v1/jobs', query)) {
    if (json) console.log(jsonLine(job));
    else rows.push(row(job, Date.now()));
  }
  if (!json) console.log(rows.length === 0 ? 'No jobs. "castellan run TYPE" submits one.' : renderTable(TITLES, rows));
}

function row(job: JobView, now: number): readonly string[] {
  return [
    job.jobId,
    job.type,
    job.state,
    age(job.updatedAt, now),
    progressText(job.progress) ?? '-',
    `${job.attempt}/${job.attemptsMax}`,
    job.nodeId ?? '-',
    job.queue?.replace(/^jobs:v1:/, '') ?? '-',
    (job.error?.message ?? job.reason ?? '-').slice(0, REASON_SHOWN),
  ];
}

function factsOf(job: JobView, now: number): string {
  const facts: (readonly [name: string, value: string])[] = [
    ['job', job.jobId],
    ['type', job.type],
    ['state', `${job.state} (for ${age(job.updatedAt, now)})`],
    ['reason', job.reason ?? '-'],
    ['error', job.error === null ? '-' : `${job.error.code}: ${job.error.message}`],
    ['attempt', `${job.attempt} of ${job.attemptsMax}`],
    ['progress', progressText(job.progress) ?? '-'],
    ['queue', job.queue ?? '-'],
    ['priority', String(job.priority)],
    ['worker', [job.worker, job.nodeId].filter((name) => name !== null).join(' on ') || '-'],
    ['parent', job.parent ?? '-'],
    ['children', job.children.join(', ') || '-'],
    ['created', `${age(job.createdAt, now)} ago`],
    ['payload', jsonLine(job.payload)],
    ['result', job.result === null ? '-' : jsonLine(job.result)],
  ];
  return facts.map(([name, value]) => `${name.padEnd(10)} ${printable(value)}`).join('\n');
}

/** A share, or whatever the worker said; undefined while it has said nothing. */
export function progressText(progress: Json): string | undefined {
  if (progress === null) return undefined;
  return typeof progress === 'number' ? `${Math.round(progress)} %` : jsonLine(progress);
}

/** `2030-01-01T00:00:00.000Z  chunk  {"tokens":12}`; a line that a worker logged as it is. */
export function logText({ at, type, data }: JobLogLine): string {
  const { log } = typeof data === 'object' && data !== null && !Array.isArray(data) ? (data as { readonly log?: Json }) : {};
  return printable(`${at}  ${typeof log === 'string' ? log : `${type}  ${jsonLine(data)}`}`);
}

function pathOf(id: string): string {
  return `/api/v1/jobs/${encodeURIComponent(id)}`;
}

/** `--json` may stand before or after the subcommand's name: the outer command knows the option, too. */
function wantsJson(command: Command): boolean {
  return command.optsWithGlobals<{ readonly json?: boolean }>().json ?? false;
}
