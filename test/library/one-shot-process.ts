/** A program that uses all of the library and stops it in the midst of waits; then nothing may keep it. Arguments: Redis URL, prefix. */
import { createCastellan } from '../../src/index.ts';
import { counterType } from './counter.ts';

const [redis = '', prefix = ''] = process.argv.slice(2);
// Pipes to whoever started this, and timers that do not keep a process, are not the library's.
const held = (): readonly string[] => process.getActiveResourcesInfo().filter((each) => each !== 'PipeWrap' && each !== 'TTYWrap');

{
  await using castellan = createCastellan({ redis, prefix, types: [counterType()], log: { warn: () => {} } });
  await castellan.start();
  const { cursor } = castellan;
  await castellan.sendAndWait('counter', 'a', { type: 'add', by: 1 });
  await castellan.sendAndWait('counter', 'a', { type: 'ring' });
  void castellan.waitFor('counter', 'a', { state: 'ended' }).catch(() => undefined);
  void (async () => {
    for await (const { transition } of await castellan.transitions(cursor)) process.stderr.write(`${transition.key}\n`);
  })();
}
await new Promise((resolve) => setImmediate(resolve));
process.stdout.write(`stopped; open: ${held().join(', ') || 'none'}\n`);
