import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createJobScreen } from '../../src/cli/job-screen.ts';
import { jobsCommand } from '../../src/cli/jobs.ts';
import { queuesCommand } from '../../src/cli/queues.ts';
import { runCommand, stayWith } from '../../src/cli/run.ts';
import { schedulesCommand } from '../../src/cli/schedules.ts';
import { ControlPlaneRefusedError, ControlPlaneUnreachableError } from '../../src/protocol/errors.ts';
import type { JobRequest, JobView } from '../../src/protocol/job.ts';
import { createFakeJobs, fakeJob, type FakeJobs } from '../http/fake-jobs.ts';
import { startFixture } from '../http/server-fixture.ts';

let jobs: FakeJobs;

beforeEach(async () => {
  jobs = createFakeJobs();
  const server = await startFixture({ jobs });
  vi.stubEnv('CASTELLAN_URL', await server.listen());
  vi.stubEnv('CASTELLAN_TOKEN', await server.token('operator'));
  onTestFinished(() => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
    process.exitCode = undefined;
  });
});

/** What the command prints on standard output. */
async function castellan(...args: readonly string[]): Promise<string> {
  const printed: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((text: string) => void printed.push(text));
  const program = new Command('castellan');
  for (const command of [jobsCommand(), queuesCommand(), schedulesCommand(), runCommand()]) program.addCommand(command);
  await program.parseAsync(args, { from: 'user' });
  return printed.join('\n');
}

/** What stands on standard error, as it would on a terminal or in a file. */
function screenOf(isTTY: boolean) {
  const written: string[] = [];
  return { screen: createJobScreen({ isTTY, columns: 100, write: (text: string) => written.push(text) }), text: () => written.join('') };
}

describe('castellan jobs', () => {
  it('lists them with what matters, and asks with the filters', async () => {
    jobs.jobs.set('one', fakeJob('one', { state: 'queued', reason: 'no online node has tag gpu', progress: 42, attempt: 2, nodeId: 'gpu-1' }));
    const text = await castellan('jobs', '--state', 'queued', '--type', 'ECHO', '--node', 'gpu-1', '--older-than', '5m');
    expect(text).toMatch(/^JOB +TYPE +STATE/);
    expect(text).toMatch(/one +ECHO +queued +.* 42 % +2\/3 +gpu-1 +gpu-general +no online node has tag gpu/);
    expect(jobs.asked[0]).toMatchObject({ state: 'queued', type: 'ECHO', nodeId: 'gpu-1', olderThanMs: 300_000 });
  });

  it('prints a JSON object a line for programs, and says what to do when there are none', async () => {
    expect(await castellan('jobs')).toContain('castellan run TYPE');
    jobs.jobs.set('one', fakeJob('one'));
    expect(JSON.parse(await castellan('jobs', '--json'))).toEqual(fakeJob('one'));
  });

  it('shows, cancels and retries one', async () => {
    jobs.jobs.set('one', fakeJob('one', { error: { code: 'handler_failed', message: 'no\u001b[31m luck' }, state: 'error' }));
    expect(await castellan('jobs', 'show', 'one')).toMatch(/error +handler_failed: no \[31m luck/);
    expect(JSON.parse(await castellan('jobs', 'show', 'one', '--json'))).toMatchObject({ jobId: 'one' });
    expect(await castellan('jobs', 'retry', 'one')).toBe('Job one is queued.');
    expect(await castellan('jobs', 'cancel', 'one', '--reason', 'enough')).toBe('Job one is cancelled.');
    expect(jobs.jobs.get('one')?.reason).toBe('enough');
    await expect(castellan('jobs', 'show', 'none')).rejects.toThrow('There is no job "none"');
  });

  it('prints a log', async () => {
    jobs.jobs.set('one', fakeJob('one'));
    expect(await castellan('jobs', 'log', 'one')).toContain('No lines.');
    const at = '2030-01-01T00:00:00.000Z';
    jobs.logs.set('one', [
      { id: '1-0', at, type: 'start', data: {} },
      { id: '2-0', at, type: 'chunk', data: { log: 'loading' } },
    ]);
    expect(await castellan('jobs', 'log', 'one')).toBe(`${at}  start  {}\n${at}  loading`);
  });
});

describe('castellan queues and schedules', () => {
  it('pauses, limits and resumes a queue by its short name', async () => {
    expect(await castellan('queues', 'pause', 'cpu-general')).toMatch(/jobs:v1:cpu-general +paused/);
    expect(await castellan('queues', 'limit', 'jobs:v1:cpu-general', '--concurrency', '3', '--rate', '100/1m')).toContain('3 at once, 100 in 60000 ms');
    expect(await castellan('queues', 'resume', 'cpu-general')).toMatch(/jobs:v1:cpu-general +open/);
    expect(await castellan('queues')).toMatch(/QUEUE +STATE/);
    await expect(castellan('queues', 'limit', 'x', '--rate', 'fast')).rejects.toThrow('--rate');
  });

  it('sets, lists and removes a schedule', async () => {
    expect(await castellan('schedules')).toBe('No schedules.');
    await castellan('schedules', 'set', 'nightly', 'BACKUP', '--cron', '0 3 * * *', '--time-zone', 'Europe/Berlin', '--payload', '{"full":true}');
    expect(jobs.schedules.get('nightly')).toMatchObject({ cron: '0 3 * * *', timeZone: 'Europe/Berlin', job: { type: 'BACKUP', payload: { full: true } } });
    expect(await castellan('schedules')).toContain('0 3 * * * Europe/Berlin');
    expect(await castellan('schedules', 'remove', 'nightly')).toContain('removed');
    await expect(castellan('schedules', 'set', 'x', 'BACKUP')).rejects.toThrow('--every');
  });
});

describe('castellan run', () => {
  it('submits what the flags say, and detached prints the id', async () => {
    const asked: JobRequest[] = [];
    const submit = jobs.submit.bind(jobs);
    jobs.submit = async (request, orgId) => (asked.push(request), await submit(request, orgId));
    const id = await castellan(
      ...['run', 'ECHO', '--payload', '{"text":"hi"}', '--queue', 'cpu-general', '--priority', 'high', '--delay', '2s', '--attempts', '5'],
      ...['--timeout', '1m', '--tag', 'gpu', 'fast', '--gpu-memory', '8000', '--node', 'gpu-1', '--detach'],
    );
    expect(jobs.jobs.has(id)).toBe(true);
    expect(asked[0]).toMatchObject({
      type: 'ECHO',
      payload: { text: 'hi' },
      queue: 'jobs:v1:cpu-general',
      priority: 'high',
      delayMs: 2_000,
      attempts: 5,
      timeoutMs: 60_000,
      requires: { tags: ['gpu', 'fast'], gpuMemoryMb: 8_000, node: 'gpu-1' },
    });
  });

  it('takes the payload from a file, and says when it is not JSON', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'castellan-run-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, 'payload.json'), '{"from":"file"}');
    const id = await castellan('run', 'ECHO', '--payload', `@${join(folder, 'payload.json')}`, '--detach');
    expect(jobs.jobs.get(id)?.payload).toEqual({ from: 'file' });
    await expect(castellan('run', 'ECHO', '--payload', '{oops')).rejects.toThrow('--payload is not JSON');
    await expect(castellan('run', 'ECHO', '--payload', '@/nowhere')).rejects.toThrow('cannot be read');
  });

  it('stays until the end and prints the result alone', async () => {
    vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    jobs.get = async (jobId) => fakeJob(jobId, { state: 'processing', progress: 10 });
    expect(await castellan('run', 'ECHO')).toBe('42');
    expect(process.exitCode).toBe(0);
  });
});

describe('staying with a job', () => {
  const views = (...list: readonly (Partial<JobView> | Error)[]) => {
    let next = 0;
    const get = async (path: string): Promise<unknown> => {
      if (path.endsWith('/log'))
        return { items: next === 1 ? [{ id: '1-0', at: '2030-01-01T00:00:00.000Z', type: 'chunk', data: { log: 'a line' } }] : [], next: null };
      const view = list[Math.min(next++, list.length - 1)];
      if (view instanceof Error) throw view;
      return fakeJob('one', view);
    };
    return { get: get as never };
  };
  const printed = () => vi.spyOn(console, 'log').mockImplementation(() => undefined);

  it('draws a bar on a terminal and leaves the line at the end', async () => {
    const log = printed();
    const { screen, text } = screenOf(true);
    const client = views({ state: 'processing', nodeId: 'gpu-1', progress: 50 }, { state: 'done', result: 'all\nof it' });
    expect(await stayWith(client, 'one', { json: false, screen, signal: new AbortController().signal })).toBe(0);
    expect(text()).toContain('[############------------]  50 %  ECHO one processing on gpu-1: 50 %');
    expect(text()).toContain('a line\n');
    expect(text().endsWith('\n')).toBe(true);
    expect(log.mock.calls).toEqual([['all\nof it']]);
  });

  it('shows what was logged, and neither states nor results a second time', () => {
    const { screen, text } = screenOf(false);
    const at = '2030-01-01T00:00:00.000Z';
    for (const type of ['claimed', 'start', 'chunk', 'end', 'error']) screen.log({ id: '1-0', at, type, data: { worker: 'w', result: 'large' } });
    screen.log({ id: '1-1', at, type: 'chunk', data: { worker: 'w', log: 'half of it' } });
    expect(text()).toBe(`${at}  half of it\n`);
  });

  it('writes a line for each change elsewhere, and ends with 1 and the error', async () => {
    printed();
    const { screen, text } = screenOf(false);
    const client = views(
      { state: 'placing', reason: 'no online node has tag gpu' },
      { state: 'placing', reason: 'no online node has tag gpu' },
      { state: 'error', attempt: 3, error: { code: 'timeout', message: 'It took longer than 5 s.' } },
    );
    expect(await stayWith(client, 'one', { json: false, screen, signal: new AbortController().signal })).toBe(1);
    expect(text()).not.toContain('\u001b');
    expect(text().match(/no online node has tag gpu/g)).toHaveLength(1);
    expect(text()).toContain('Job one ended: error. timeout: It took longer than 5 s.');
  });

  it('goes on when the control plane is away for a while', async () => {
    printed();
    const { screen, text } = screenOf(false);
    const client = views({ state: 'processing' }, new ControlPlaneUnreachableError('http://127.0.0.1:1'), { state: 'done' });
    expect(await stayWith(client, 'one', { json: true, screen, signal: new AbortController().signal })).toBe(0);
    expect(text()).toContain('does not answer; the job goes on');
  });

  it('waits for a job that no engine has taken in yet', async () => {
    printed();
    const { screen, text } = screenOf(false);
    const client = views(new ControlPlaneRefusedError({ status: 404, code: 'job_not_found', detail: 'none' }), { state: 'done' });
    expect(await stayWith(client, 'one', { json: true, screen, signal: new AbortController().signal })).toBe(0);
    expect(text()).toContain('no engine has taken it in yet');
  });

  it('leaves the job running when asked to stop, and says how to end it', async () => {
    const leaving = new AbortController();
    const { screen, text } = screenOf(true);
    const client = {
      get: async (path: string, query?: { wait?: number }): Promise<never> => {
        if (path.endsWith('/log')) return { items: [], next: null } as never;
        if (query?.wait !== undefined) {
          leaving.abort();
          await new Promise(() => undefined);
        }
        return fakeJob('one', { state: 'processing' }) as never;
      },
    };
    expect(await stayWith(client as never, 'one', { json: false, screen, signal: leaving.signal })).toBe(0);
    expect(text()).toContain('castellan jobs cancel one');
  });
});
