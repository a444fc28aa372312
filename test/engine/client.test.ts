import { afterEach, describe, expect, it } from 'vitest';
import { registerActorType } from '../../src/core/kernel.ts';
import { HostedTypes } from '../../src/engine/actor-types.ts';
import { Client } from '../../src/engine/client.ts';
import { Hub } from '../../src/engine/hub.ts';
import type { AppendResult } from '../../src/engine/ports.ts';
import { EventRejectedError, InvalidEventError, StoppedError, UnknownActorTypeError, WaitTimeoutError } from '../../src/protocol/errors.ts';
import type { Envelope, Outcome } from '../../src/protocol/envelope.ts';
import { workloadTypes } from '../simulator/machines.ts';
import { ManualClock, settled } from './manual-clock.ts';
import { MemoryFeed } from './memory-feed.ts';

const ADD = { type: 'add', by: 'test', n: 1 };
const DONE: Outcome = { kind: 'transition', revision: 1, value: 'open', status: 'active' };

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** `answer` is what the store does with an append; the default accepts it. */
async function fixture(answer?: (envelope: Envelope, accept: () => AppendResult) => Promise<AppendResult | Error>) {
  const clock = new ManualClock();
  const executors = { print: async () => undefined, log: async () => undefined };
  const types = new HostedTypes(workloadTypes(async () => null).map((definition) => ({ registered: registerActorType(definition), executors })));
  const appended: Envelope[] = [];
  let tell = (_entry: string, _outcome: Outcome): void => undefined;
  const accept = (): AppendResult => ({ id: `${appended.length}-0`, partition: 5, repeated: false });
  const client = new Client({
    store: {
      append: async (envelopes) =>
        await Promise.all(
          envelopes.map(async (envelope) => {
            appended.push(envelope);
            return await (answer?.(envelope, accept) ?? accept());
          }),
        ),
    },
    reader: { getActor: async () => undefined },
    replies: { channel: 'me', listen: async (told) => void (tell = told), close: async () => undefined },
    hub: new Hub(new MemoryFeed(), clock),
    types,
    clock,
  });
  await client.start();
  stops.push(() => client.stop());
  return { client, clock, appended, tell: (entry: string, outcome: Outcome) => tell(entry, outcome) };
}

describe('sending', () => {
  it('checks before anything is stored', async () => {
    const { client, appended } = await fixture();
    await expect(client.send('nobody', '1', ADD)).rejects.toThrow(UnknownActorTypeError);
    await expect(client.send('ledger', '1', { type: 'add', by: 'test', n: 'one' })).rejects.toThrow(InvalidEventError);
    await expect(client.send('ledger', '1', { type: 'xstate.stop' })).rejects.toThrow(InvalidEventError);
    await expect(client.send('ledger', '{}', ADD)).rejects.toThrow('{}');
    expect(appended).toEqual([]);
  });

  it('hands on what the sender says of the event, and asks for no outcome', async () => {
    const { client, appended } = await fixture();
    await client.send('ledger', '1', ADD, { dedupeId: 'd', causation: 'c' });
    expect(appended).toEqual([{ actor: 'ledger/1', event: ADD, source: 'library', dedupeId: 'd', causation: 'c' }]);
  });

  it('sends many in their order, or none when one is bad', async () => {
    const { client, appended } = await fixture();
    const bad = { type: 'add', by: 'test', n: 'one' };
    await expect(
      client.sendAll('ledger', [
        { id: '1', event: ADD },
        { id: '2', event: bad },
      ]),
    ).rejects.toThrow(InvalidEventError);
    expect(appended).toEqual([]);
    const results = await client.sendAll('ledger', [
      { id: '1', event: ADD, dedupeId: 'd' },
      { id: '2', event: ADD },
    ]);
    expect(results).toHaveLength(2);
    expect(appended.map(({ actor, dedupeId }) => [actor, dedupeId])).toEqual([
      ['ledger/1', 'd'],
      ['ledger/2', undefined],
    ]);
  });

  it('rejects when the store did', async () => {
    const { client } = await fixture(async () => new Error('Connection reset'));
    await expect(client.send('ledger', '1', ADD)).rejects.toThrow('Connection reset');
  });
});

describe('sending and waiting', () => {
  it('resolves with what became of this event, not of another partition’s with the same id', async () => {
    const { client, tell, appended } = await fixture();
    let settledWith: unknown;
    void client.sendAndWait('ledger', '1', ADD).then((outcome) => (settledWith = outcome));
    await settled();
    expect(appended[0]?.replyTo).toBe('me');
    tell('6:1-0', { kind: 'ignored' });
    await settled();
    expect(settledWith).toBeUndefined();
    tell('5:1-0', DONE);
    await settled();
    expect(settledWith).toEqual(DONE);
  });

  it('hears an outcome that comes before the append is answered', async () => {
    let hear = (): void => undefined;
    const { client, tell } = await fixture(async (_envelope, accept) => {
      hear();
      await settled();
      return accept();
    });
    hear = () => tell('5:1-0', DONE);
    expect(await client.sendAndWait('ledger', '1', ADD)).toEqual(DONE);
  });

  it('throws a dead letter with its code and field', async () => {
    const { client, tell } = await fixture();
    const waiting = client.sendAndWait('ledger', '1', ADD);
    await settled();
    tell('5:1-0', { kind: 'dead-letter', code: 'threw', reason: 'poison', field: 'n' });
    await expect(waiting).rejects.toThrow(EventRejectedError);
    await expect(waiting).rejects.toMatchObject({ code: 'threw', field: 'n' });
  });

  it('gives up at its time and says that the event stays accepted', async () => {
    const { client, clock } = await fixture();
    const waiting = client.sendAndWait('ledger', '1', ADD, { timeoutMs: 500 });
    let failure: unknown;
    waiting.catch((error: unknown) => (failure = error));
    await clock.advance(499);
    expect(failure).toBeUndefined();
    await clock.advance(1);
    await expect(waiting).rejects.toThrow(WaitTimeoutError);
    await expect(waiting).rejects.toThrow('accepted');
  });

  it('does not wait for a repeat: its outcome was told before', async () => {
    const { client } = await fixture(async () => ({ id: '9-0', partition: 5, repeated: true }));
    expect(await client.sendAndWait('ledger', '1', ADD, { dedupeId: 'd' })).toEqual({ kind: 'repeated', entry: '9-0' });
  });

  it('tells who waits when it stops', async () => {
    const { client } = await fixture();
    const waiting = client.sendAndWait('ledger', '1', ADD);
    await settled();
    waiting.catch(() => undefined); // looked at below
    await client.stop();
    await expect(waiting).rejects.toThrow(StoppedError);
  });
});
