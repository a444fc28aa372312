/** `castellan queues`: how full the worker queues are; paused, resumed, limited. */
import { Command } from 'commander';
import type { QueueLimits, QueueView } from '../protocol/job.ts';
import { QUEUE_PREFIX } from '../protocol/job-progress.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import { controlPlaneClient } from './control-plane-client.ts';
import { readDurationMs } from './durations.ts';
import { environmentWith } from './settings.ts';
import { jsonLine, renderTable } from './table.ts';

const TITLES = ['queue', 'state', 'waiting', 'held', 'taken', 'workers', 'limits'];

interface LimitFlags {
  readonly concurrency?: string;
  readonly rate?: string;
}

export function queuesCommand(): Command {
  return new Command('queues')
    .description('list the worker queues; pause, resume or limit one')
    .option('--json', 'one JSON object a line, for programs')
    .action(async ({ json }: { readonly json?: boolean }) => {
      const client = await controlPlaneClient(environmentWith({}));
      const rows: (readonly string[])[] = [];
      for await (const queue of client.list<QueueView>('/api/v1/queues')) {
        if (json) console.log(jsonLine(queue));
        else rows.push(row(queue));
      }
      if (!json) console.log(rows.length === 0 ? 'No queues. One appears with its first job or worker.' : renderTable(TITLES, rows));
    })
    .addCommand(changing('pause', 'hand out no more jobs of a queue; those at work go on'))
    .addCommand(changing('resume', 'hand out the jobs of a queue again'))
    .addCommand(
      new Command('limit')
        .description('set a queue’s limits; without a flag there is none')
        .argument('<queue>', 'such as jobs:v1:gpu-general, or gpu-general')
        .option('--concurrency <jobs>', 'at most so many with workers at once')
        .option('--rate <jobs/duration>', 'at most so many handed out in a time, such as 100/1m')
        .action(async (queue: string, flags: LimitFlags) => {
          const client = await controlPlaneClient(environmentWith({}));
          console.log(renderTable(TITLES, [row(await client.put<QueueView>(`${pathOf(queue)}/limits`, readLimits(flags)))]));
        }),
    );
}

function changing(verb: 'pause' | 'resume', what: string): Command {
  return new Command(verb)
    .description(what)
    .argument('<queue>', 'such as jobs:v1:gpu-general, or gpu-general')
    .action(async (queue: string) => {
      const client = await controlPlaneClient(environmentWith({}));
      console.log(renderTable(TITLES, [row(await client.post<QueueView>(`${pathOf(queue)}/${verb}`))]));
    });
}

function row({ queue, paused, limits, waiting, held, taken, workers, fault }: QueueView): readonly string[] {
  const { concurrency, rate } = limits;
  const bounds = [concurrency === undefined ? '' : `${concurrency} at once`, rate === undefined ? '' : `${rate.max} in ${rate.perMs} ms`];
  return [
    queue,
    fault === undefined ? (paused ? 'paused' : 'open') : 'no stream',
    String(waiting),
    String(held),
    String(taken),
    String(workers),
    bounds.filter(Boolean).join(', ') || '-',
  ];
}

function readLimits({ concurrency, rate }: LimitFlags): QueueLimits {
  const match = rate === undefined ? undefined : /^(\d{1,7})\/(.+)$/.exec(rate);
  if (match === null) throw new InvalidSettingError('--rate', 'must be a number of jobs in a time, such as 100/1m.');
  if (concurrency !== undefined && !/^[1-9]\d{0,6}$/.test(concurrency)) throw new InvalidSettingError('--concurrency', 'must be a whole number from 1.');
  return {
    ...(concurrency === undefined ? {} : { concurrency: Number(concurrency) }),
    ...(match === undefined ? {} : { rate: { max: Number(match[1]), perMs: readDurationMs(match[2] as string, '--rate') } }),
  };
}

function pathOf(queue: string): string {
  return `/api/v1/queues/${encodeURIComponent(fullQueueName(queue))}`;
}

/** People may leave out the beginning that all queues have. */
export function fullQueueName(queue: string): string {
  return queue.startsWith(QUEUE_PREFIX) ? queue : QUEUE_PREFIX + queue;
}
