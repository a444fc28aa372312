/** `castellan schedules`: jobs that are submitted again and again; made, changed, removed. */
import { Command } from 'commander';
import { InvalidSettingError } from '../protocol/errors.ts';
import type { ScheduleRequest, ScheduleView } from '../protocol/job.ts';
import { controlPlaneClient } from './control-plane-client.ts';
import { readDurationMs } from './durations.ts';
import { addJobOptions, jobRequestFrom, type JobFlags } from './job-options.ts';
import { environmentWith } from './settings.ts';
import { jsonLine, renderTable } from './table.ts';

const TITLES = ['schedule', 'when', 'type', 'next', 'runs', 'last job'];

interface ScheduleFlags extends JobFlags {
  readonly cron?: string;
  readonly timeZone?: string;
  readonly every?: string;
}

export function schedulesCommand(): Command {
  const set = new Command('set')
    .description('make or change a schedule')
    .argument('<name>')
    .argument('<type>', 'type of the job')
    .option('--cron <pattern>', 'minute hour day month weekday, such as "0 3 * * *"; six fields begin with seconds')
    .option('--time-zone <zone>', 'of the pattern, such as Europe/Berlin; default UTC')
    .option('--every <duration>', 'instead of a pattern, such as 15m');
  return new Command('schedules')
    .description('list the schedules; set or remove one')
    .option('--json', 'one JSON object a line, for programs')
    .action(async ({ json }: { readonly json?: boolean }) => {
      const client = await controlPlaneClient(environmentWith({}));
      const rows: (readonly string[])[] = [];
      for await (const schedule of client.list<ScheduleView>('/api/v1/schedules')) {
        if (json) console.log(jsonLine(schedule));
        else rows.push(row(schedule));
      }
      if (!json) console.log(rows.length === 0 ? 'No schedules.' : renderTable(TITLES, rows));
    })
    .addCommand(
      addJobOptions(set).action(async (name: string, type: string, flags: ScheduleFlags) => {
        const body: Omit<ScheduleRequest, 'name'> = { ...timesFrom(flags), job: await jobRequestFrom(type, flags) };
        const client = await controlPlaneClient(environmentWith({}));
        console.log(renderTable(TITLES, [row(await client.put<ScheduleView>(pathOf(name), body))]));
      }),
    )
    .addCommand(
      new Command('remove')
        .description('remove a schedule; its jobs stay')
        .argument('<name>')
        .action(async (name: string) => {
          await (await controlPlaneClient(environmentWith({}))).delete(pathOf(name));
          console.log(`The schedule ${name} is removed.`);
        }),
    );
}

function timesFrom({ cron, timeZone, every }: ScheduleFlags): Pick<ScheduleRequest, 'cron' | 'timeZone' | 'everyMs'> {
  if ((cron === undefined) === (every === undefined)) throw new InvalidSettingError('--cron', 'or --every must be given, one of the two.');
  return {
    ...(cron === undefined ? {} : { cron }),
    ...(timeZone === undefined ? {} : { timeZone }),
    ...(every === undefined ? {} : { everyMs: readDurationMs(every, '--every') }),
  };
}

function row({ name, cron, timeZone, everyMs, job, nextAt, runs, lastJobId, reason }: ScheduleView): readonly string[] {
  const when = cron === undefined ? `every ${(everyMs ?? 0) / 1_000} s` : `${cron} ${timeZone ?? 'UTC'}`;
  return [name, when, job.type, nextAt ?? reason ?? 'not planned', String(runs), lastJobId ?? '-'];
}

function pathOf(name: string): string {
  return `/api/v1/schedules/${encodeURIComponent(name)}`;
}
