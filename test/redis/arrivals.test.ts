/** What is heard of actors that came to rest. */
import { expect, it } from 'vitest';
import type { ArrivedView } from '../../src/engine/read-ports.ts';
import { createArrivals } from '../../src/redis/arrivals.ts';
import { createKeys } from '../../src/redis/keys.ts';

it('an arrival is read whole, with a document of several lines; of a large one, and of one that nobody sealed, there is the address alone', async () => {
  let tell: ((text: string, channel: string) => void) | undefined;
  const channels: string[] = [];
  const arrivals = createArrivals(
    {
      subscribe: async (channel, heard) => {
        channels.push(channel);
        tell = heard;
        return async () => void channels.pop();
      },
    },
    createKeys('here'),
    (message) => (message.startsWith('sealed ') ? message.slice(7) : undefined),
  );
  const heard: (readonly [string, ArrivedView | undefined])[] = [];
  const stop = await arrivals.hear('job', (key, view) => heard.push([key, view]));
  expect(channels).toEqual(['here:arrivals:job']);
  const forged = `${'0a'.repeat(20)}job/e\n[3]\n`;
  for (const text of ['sealed job/a\n[1,"x"]\n', 'sealed job/b\n[2]\n{\n"progress":1\n}', 'job/c', 'job/d\n[3]\n', forged]) tell?.(text, '');
  expect(heard).toEqual([
    ['job/a', { key: 'job/a', record: '[1,"x"]', document: null }],
    ['job/b', { key: 'job/b', record: '[2]', document: '{\n"progress":1\n}' }],
    ['job/c', undefined],
    ['job/d', undefined],
    ['job/e', undefined],
  ]);
  await stop();
  expect(channels).toEqual([]);
});
