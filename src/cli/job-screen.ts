/**
 * A job as it goes, on standard error: one line that is drawn again on a terminal, a line for each change elsewhere.
 * What workers say is printed without control characters.
 */
import type { JobLogLine, JobView } from '../protocol/job.ts';
import { logText, progressText } from './jobs.ts';
import { printable } from './table.ts';

const BAR_WIDTH = 24;
const REASON_SHOWN = 80;
const CLEAR_LINE = '\r\u001b[K';

export interface JobScreen {
  /** Drawn again in place. */
  readonly live: boolean;
  show(job: JobView): void;
  log(line: JobLogLine): void;
  say(text: string): void;
  /** Leaves the line that was drawn last. */
  close(): void;
}

export interface ScreenTarget {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export function createJobScreen(target: ScreenTarget): JobScreen {
  const live = target.isTTY ?? false;
  let drawn = '';
  const above = (text: string): void => {
    target.write(live && drawn !== '' ? `${CLEAR_LINE}${text}\n${drawn}` : `${text}\n`);
  };
  return {
    live,
    show(job) {
      const line = live ? barLine(job).slice(0, Math.max(20, (target.columns ?? 80) - 1)) : plainLine(job);
      if (line === drawn) return;
      drawn = line;
      target.write(live ? `${CLEAR_LINE}${line}` : `${line}\n`);
    },
    // Its states and its progress are on the line already, its result is printed at the end.
    log: (line) => (isLogged(line) ? above(logText(line)) : undefined),
    say: (text) => above(printable(text)),
    close() {
      if (live && drawn !== '') target.write('\n');
      drawn = '';
    },
  };
}

/** `[############------------]  50 %  ECHO processing on gpu-1` */
function barLine(job: JobView): string {
  const share = typeof job.progress === 'number' ? Math.min(100, Math.max(0, job.progress)) : job.state === 'done' ? 100 : undefined;
  const full = Math.round(((share ?? 0) / 100) * BAR_WIDTH);
  const bar = `[${'#'.repeat(full)}${'-'.repeat(BAR_WIDTH - full)}] ${share === undefined ? '    ' : `${String(Math.round(share)).padStart(3)} %`}`;
  return `${bar}  ${plainLine(job)}`;
}

/** `ECHO 0TkX… processing on gpu-1, attempt 2 of 3: 50 %` */
function plainLine(job: JobView): string {
  const where = job.nodeId === null ? '' : ` on ${job.nodeId}`;
  const attempt = job.attempt > 1 ? `, attempt ${job.attempt} of ${job.attemptsMax}` : '';
  const progress = job.state === 'processing' ? progressText(job.progress) : undefined;
  const more = progress ?? job.reason?.slice(0, REASON_SHOWN);
  return printable(`${job.type} ${job.jobId} ${job.state}${where}${attempt}${more === undefined ? '' : `: ${more}`}`);
}

function isLogged({ data }: JobLogLine): boolean {
  return typeof data === 'object' && data !== null && 'log' in data;
}
