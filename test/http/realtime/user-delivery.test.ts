import { describe, expect, it, onTestFinished } from 'vitest';
import { userDelivery, type Attached, type UserSocket } from '../../../src/http/realtime/user-delivery.ts';
import { compareEntryIds } from '../../../src/protocol/ids.ts';
import type { UserEvent, UserEvents } from '../../../src/protocol/user-events.ts';
import { until } from './socket-fixture.ts';

/** Events in memory, a clock by hand, and sockets that answer when they are told to. */
function world() {
  const stored: UserEvent[] = [];
  const reached: string[] = [];
  const ended: string[] = [];
  let now = 0;
  let failing = false;
  const events: UserEvents = {
    listen: async () => undefined,
    close: async () => undefined,
    begin: async (_of, cursor) => ({ kind: 'from', cursor: cursor ?? '0-0' }),
    read: async (_user, after, count) => {
      if (failing) throw new Error('Redis is away');
      return stored.filter(({ cursor }) => compareEntryIds(cursor, after) > 0).slice(0, count);
    },
    reached: async ({ socket }, cursor) => void reached.push(`${socket} ${cursor}`),
    present: async () => undefined,
    end: async ({ socket }) => void ended.push(socket),
  };
  const errors: unknown[] = [];
  const delivery = userDelivery({ events, clock: () => now, onError: (error) => errors.push(error) });
  onTestFinished(() => delivery.close());
  return {
    delivery,
    reached,
    ended,
    errors,
    tell(number: number) {
      stored.push({ cursor: `${number}-0`, name: 'told', data: {} });
      delivery.ring('ann');
    },
    pass: (ms: number) => void (now += ms),
    fail: (fails: boolean) => void (failing = fails),
    attach(id: string, cursor?: string) {
      const got: string[] = [];
      const outstanding = { probes: 0 };
      const dropped: string[] = [];
      let attached: Attached | undefined;
      const socket: UserSocket = {
        id,
        send: ({ cursor: at }) => void got.push(at),
        probe: () => {
          outstanding.probes++;
          attached?.probed();
        },
        drop: (why) => void dropped.push(why),
      };
      attached = delivery.attach('ann', socket, cursor);
      const answer = (): void => {
        outstanding.probes--;
        attached.answered();
      };
      return {
        got,
        dropped,
        outstanding,
        answer,
        answerAll: () => {
          while (outstanding.probes > 0) answer();
        },
        detach: attached.detach,
      };
    },
  };
}

async function settled(socket: { readonly outstanding: { readonly probes: number } }): Promise<void> {
  await until(() => socket.outstanding.probes > 0, 'a probe');
}

describe('what has reached a socket', () => {
  it('is what it answered something after', async () => {
    const { attach, tell, reached } = world();
    const socket = attach('s');
    await settled(socket);
    socket.answerAll();
    tell(1);
    await settled(socket);
    expect([socket.got, reached]).toEqual([['1-0'], []]);
    socket.answerAll();
    expect(reached).toEqual(['s 1-0']);
  });

  it('is nothing that it left unanswered when its link broke', async () => {
    const { attach, tell, reached, ended } = world();
    const socket = attach('s');
    await settled(socket);
    socket.answerAll();
    tell(1);
    await settled(socket);
    socket.detach(false);
    await until(() => ended.length === 1);
    expect(reached).toEqual([]);
  });

  it.each([
    ['what was sent a round trip before an orderly goodbye', 10, ['s 1-0']],
    ['not what may have crossed it', 9, []],
  ])('is %s', async (_what, passed, expected) => {
    const { attach, tell, reached, ended, pass } = world();
    const socket = attach('s');
    await settled(socket);
    while (socket.outstanding.probes > 0) {
      pass(10);
      socket.answer();
    }
    tell(1);
    await settled(socket);
    pass(passed);
    socket.detach(true);
    await until(() => ended.length === 1);
    expect(reached).toEqual(expected);
  });
});

it('no more than a window is on its way to a socket, and others are not held up by it', async () => {
  const { attach, tell } = world();
  const [slow, quick] = [attach('slow'), attach('quick')];
  for (let number = 1; number <= 500; number++) tell(number);
  await until(() => {
    quick.answerAll();
    return quick.got.length === 500;
  });
  expect(slow.got).toHaveLength(64);
  await until(() => {
    slow.answerAll();
    return slow.got.length === 500;
  });
  expect(new Set(slow.got).size).toBe(500);
});

it('what could not be read is read again', async () => {
  const { attach, tell, fail, errors } = world();
  const socket = attach('s');
  await settled(socket);
  fail(true);
  tell(1);
  await until(() => errors.length > 0);
  fail(false);
  await until(() => socket.got.length === 1);
});
