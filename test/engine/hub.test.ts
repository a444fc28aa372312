import { afterEach, describe, expect, it } from 'vitest';
import { Hub, type FollowedTransition } from '../../src/engine/hub.ts';
import { CursorGoneError, StoppedError } from '../../src/protocol/errors.ts';
import { ManualClock, settled } from './manual-clock.ts';
import { MemoryFeed } from './memory-feed.ts';

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

async function fixture(feed = new MemoryFeed()) {
  const clock = new ManualClock();
  const hub = new Hub(feed, clock);
  await hub.start();
  stops.push(() => hub.stop());
  return { hub, feed, clock, signal: new AbortController().signal };
}

/** The next transitions, as `<actor> <revision>`. */
async function take(transitions: AsyncIterable<FollowedTransition>, count: number): Promise<{ readonly seen: readonly string[]; readonly cursor: string }> {
  const seen: string[] = [];
  let cursor = '';
  if (count > 0)
    for await (const each of transitions) {
      seen.push(`${each.transition.key} ${each.transition.revision}`);
      cursor = each.cursor;
      if (seen.length === count) break;
    }
  return { seen, cursor };
}

describe('the hub', () => {
  it('gives what is committed from now on, in order', async () => {
    const { hub, feed, signal } = await fixture();
    const transitions = await hub.follow('new', { signal });
    feed.commit(['job/a', 'job/b'], 1);
    feed.commit(['node/a'], 1);
    expect((await take(transitions, 3)).seen).toEqual(['job/a 1', 'job/b 1', 'node/a 1']);
  });

  it('resumes in the middle of a pack: nothing missed, nothing repeated', async () => {
    const { hub, feed, signal } = await fixture();
    const before = await hub.follow('new', { signal });
    feed.commit(['job/a', 'job/b', 'job/c'], 1);
    feed.commit(['job/a'], 2);
    const { seen, cursor } = await take(before, 2);
    const after = await take(await hub.follow(cursor, { signal }), 2);
    expect([...seen, ...after.seen]).toEqual(['job/a 1', 'job/b 1', 'job/c 1', 'job/a 2']);
  });

  it('resumes what another process gave out, from before it began to follow', async () => {
    const feed = new MemoryFeed();
    const first = feed.commit(['job/a', 'job/b'], 1);
    feed.commit(['job/a'], 2);
    const { hub, signal } = await fixture(feed);
    expect((await take(await hub.follow(`${first}.1`, { signal }), 2)).seen).toEqual(['job/b 1', 'job/a 2']);
    expect((await take(await hub.follow('0-0', { signal }), 3)).seen).toEqual(['job/a 1', 'job/b 1', 'job/a 2']);
  });

  it('passes over what somebody else put there', async () => {
    const { hub, feed, signal } = await fixture();
    const transitions = await hub.follow('new', { signal });
    feed.commit(['job/a'], 1);
    feed.junk();
    feed.commit(['job/a'], 2);
    expect((await take(transitions, 2)).seen).toEqual(['job/a 1', 'job/a 2']);
  });

  it('goes on when the store answers again', async () => {
    const feed = new MemoryFeed();
    feed.commit(['job/a'], 1);
    const { hub, clock, signal } = await fixture(feed);
    const transitions = await hub.follow('0-0', { signal });
    feed.away = 3;
    const taken = take(transitions, 1);
    await clock.advance(1_000);
    expect([feed.away, (await taken).seen]).toEqual([0, ['job/a 1']]);
  });

  it('gives only the types asked for', async () => {
    const { hub, feed, signal } = await fixture();
    const transitions = await hub.follow('new', { types: ['node'], signal });
    feed.commit(['job/a'], 1);
    feed.commit(['node/a'], 1);
    expect((await take(transitions, 1)).seen).toEqual(['node/a 1']);
  });

  it('refuses a cursor that was trimmed, was never given out, or is none', async () => {
    const feed = new MemoryFeed();
    for (let revision = 1; revision <= 4; revision++) feed.commit(['job/a'], revision);
    feed.trim(2);
    const { hub, signal } = await fixture(feed);
    // Ids have gaps: after the newest one that was trimmed there may have been others.
    for (const cursor of ['1-0.0', '2-0.0', '0-0', '9-0.0', 'nonsense', '']) await expect(hub.follow(cursor, { signal })).rejects.toThrow(CursorGoneError);
    expect((await take(await hub.follow('3-0.0', { signal }), 1)).seen).toEqual(['job/a 4']);
  });

  it('tells a reader whose pack was trimmed, unless it does not want that type', async () => {
    const feed = new MemoryFeed();
    const gone = feed.commit(['job/a'], 1);
    feed.commit(['node/a'], 1);
    feed.trimPack(gone);
    const { hub, signal } = await fixture(feed);
    await expect(take(await hub.follow('0-0', { signal }), 1)).rejects.toThrow(CursorGoneError);
    expect((await take(await hub.follow('0-0', { types: ['node'], signal }), 1)).seen).toEqual(['node/a 1']);
  });

  it('waits for no slow reader: it goes on from the store, or is told that it fell behind', async () => {
    const { hub, feed, signal } = await fixture();
    const [slow, slower, fast] = [await hub.follow('new', { signal }), await hub.follow('new', { signal }), await hub.follow('new', { signal })];
    const megabyte = 'x'.repeat(1_048_576);
    for (let revision = 1; revision <= 24; revision++) {
      feed.commit(['job/a'], revision, megabyte);
      await settled();
    }
    expect((await take(fast, 24)).seen).toHaveLength(24);
    expect((await take(slow, 24)).seen).toHaveLength(24);
    feed.trim(3);
    await expect(take(slower, 24)).rejects.toThrow(CursorGoneError);
  });

  it('reads a pack once for all who follow live', async () => {
    const { hub, feed, signal } = await fixture();
    const readers = await Promise.all([1, 2, 3].map(() => hub.follow('new', { signal })));
    const taken = readers.map((reader) => take(reader, 1));
    await settled();
    feed.commit(['job/a'], 1);
    for (const each of taken) expect((await each).seen).toEqual(['job/a 1']);
    expect(feed.fetched).toBe(1);
  });

  it('reads nothing while nobody follows, and knows the end within a second', async () => {
    const { hub, feed, clock, signal } = await fixture();
    const last = feed.commit(['job/a'], 1);
    await clock.advance(1_000);
    expect([feed.reads, feed.fetched, hub.newest]).toEqual([0, 0, `${last}.0`]);
    const taken = take(await hub.follow('new', { signal }), 1);
    await settled();
    feed.commit(['job/a'], 2);
    expect((await taken).seen).toEqual(['job/a 2']);
  });

  it('begins where it last saw the end while the store does not answer', async () => {
    const { hub, feed, clock, signal } = await fixture();
    feed.commit(['job/a'], 1);
    await clock.advance(1_000);
    feed.failing = true;
    const taken = take(await hub.follow('new', { signal }), 1);
    await settled();
    feed.failing = false;
    feed.commit(['job/a'], 2);
    await clock.advance(1_000);
    expect((await taken).seen).toEqual(['job/a 2']);
  });

  it('ends an iteration at its signal and at a stop, and refuses to follow after that', async () => {
    const { hub, feed } = await fixture();
    const abort = new AbortController();
    const ended = [
      take(await hub.follow('new', { signal: abort.signal }), 1),
      take(await hub.follow('new', { signal: new AbortController().signal }), 1),
    ] as const;
    await settled();
    abort.abort();
    expect((await ended[0]).seen).toEqual([]);
    hub.stop();
    expect((await ended[1]).seen).toEqual([]);
    await expect(hub.follow('new', { signal: abort.signal })).rejects.toThrow(StoppedError);
    feed.commit(['job/a'], 1);
  });
});
