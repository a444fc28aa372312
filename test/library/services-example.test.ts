/** The code of docs/tasks-and-ingestion.md, run as it stands there. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createTaskUpdates, initRedis } from '../../src/index.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

let server: TestRedis;
let redis: string;
const printed = vi.fn<(...values: unknown[]) => void>();
const console = { log: printed };

beforeAll(async () => {
  server = await startTestRedis();
  redis = server.url;
});
afterAll(async () => {
  await server.stop();
});

it('tells and hears updates', async () => {
  const general = new Redis(redis);
  const heard = Promise.withResolvers<string>();
  general.on('message', (_channel, message: string) => heard.resolve(message));
  await general.subscribe('general_updates');

  const updates = createTaskUpdates({ redis, source: 'painter' });
  await updates.subscribeToChannel('task_updates', ({ task_id, data }) => console.log(task_id, data.status));
  await updates.startListening();
  await updates.publishTaskUpdate('task-123', { status: 'in_progress', progress: 50 });
  await updates.publishGeneralUpdate({ type: 'system_notification', message: 'System maintenance scheduled' });
  await vi.waitFor(() => expect(printed).toHaveBeenCalledWith('task-123', 'in_progress'), { timeout: 20_000 });
  await updates.stop();

  expect(JSON.parse(await heard.promise)).toMatchObject({ type: 'general_update', data: { type: 'system_notification' } });
  general.disconnect();
});

it('enqueues chunks and takes them in', async () => {
  await using client = await initRedis({ redis });
  await client.addTask({ job_id: 'doc-7', chunk_id: 'c0', content: 'Chapter one', source_uri: 'file:///book.pdf', source_type: 'pdf' });
  for (const { id, task } of await client.readTasks()) {
    await client.emitEvent({
      type: 'chunk.progress',
      job_id: task.job_id,
      ...(task.chunk_id === undefined ? {} : { chunk_id: task.chunk_id }),
      data: { progress: 50 },
    });
    await client.ackTask(id);
  }
  console.log(await client.getStreamInfo('shield:ingestion_queue'));

  expect(printed).toHaveBeenLastCalledWith(expect.objectContaining({ length: 1 }));
});

it('is what the page shows', async () => {
  const page = await readFile(join(import.meta.dirname, '../../docs/tasks-and-ingestion.md'), 'utf8');
  const lines = new Set((await readFile(import.meta.filename, 'utf8')).split('\n').map((line) => line.trim()));
  const blocks = [...page.matchAll(/```ts\n([^]*?)```/g)].flatMap((match) => (match[1] as string).trimEnd().split('\n'));
  expect(blocks.length).toBeGreaterThan(10);
  expect(blocks.filter((line) => !lines.has(line.trim()))).toEqual([]);
});
