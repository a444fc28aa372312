import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { fakeTransition } from './fake-control-plane.ts';
import { startFixture, type Fixture } from './server-fixture.ts';

interface Frame {
  readonly id?: string;
  readonly event?: string;
  readonly data?: string;
}

/** A client that parses frames as a browser does, without coming back by itself. */
async function openStream(base: string, headers: Record<string, string>, query = '') {
  const ending = new AbortController();
  onTestFinished(() => ending.abort());
  const response = await fetch(`${base}/events/stream${query}`, { headers, signal: ending.signal });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  const frames: Frame[] = [];
  return {
    response,
    close: () => ending.abort(),
    /** Undefined when the server ended the stream. */
    async next(): Promise<Frame | undefined> {
      while (frames.length === 0) {
        const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
        if (done) return undefined;
        text += value;
        const parts = text.split('\n\n');
        text = parts.pop() ?? '';
        for (const part of parts) {
          const fields = Object.fromEntries(
            part
              .split('\n')
              .filter((line) => !line.startsWith(':'))
              .map((line) => line.split(/: (.*)/s).slice(0, 2)),
          );
          if ('data' in fields) frames.push(fields);
        }
      }
      return frames.shift();
    },
  };
}

async function started(options = {}): Promise<{ server: Fixture; base: string; headers: { authorization: string } }> {
  const server = await startFixture(options);
  return { server, base: await server.listen(), headers: await server.bearer('viewer') };
}

const followed = async (server: Fixture, count = 1) => await vi.waitFor(() => expect(server.fake.followers).toBe(count), { timeout: 5_000 });

describe('the event stream', () => {
  it('starts at new, says so in its headers, and numbers what comes', async () => {
    const { server, base, headers } = await started();
    server.fake.push(fakeTransition('node', 'a', 1));
    const stream = await openStream(base, headers);
    expect(stream.response.headers.get('content-type')).toContain('text/event-stream');
    expect(stream.response.headers.get('x-accel-buffering')).toBe('no');
    expect(stream.response.headers.get('content-security-policy')).toContain("'none'");
    await followed(server);
    server.fake.push(fakeTransition('node', 'a', 2));
    const frame = await stream.next();
    expect(frame).toMatchObject({ id: 'c2', event: 'transition' });
    expect(JSON.parse(frame?.data ?? '')).toMatchObject({ type: 'node', id: 'a', revision: 2 });
  });

  it.each([
    ['Last-Event-ID', { 'last-event-id': 'c1' }, ''],
    ['last_id', {}, '?last_id=c1'],
    ['cursor', {}, '?cursor=c1'],
    ['Last-Event-ID before the query, as a browser that comes back sends both', { 'last-event-id': 'c1' }, '?cursor=c0'],
  ])('goes on after %s', async (_what, extra, query) => {
    const { server, base, headers } = await started();
    for (const revision of [1, 2, 3]) server.fake.push(fakeTransition('node', 'a', revision));
    const stream = await openStream(base, { ...headers, ...extra }, query);
    expect([(await stream.next())?.id, (await stream.next())?.id]).toEqual(['c2', 'c3']);
  });

  it('answers 410 to a cursor that is not held', async () => {
    const { base, headers } = await started();
    const response = await fetch(`${base}/events/stream?cursor=c99`, { headers });
    expect(response.status).toBe(410);
    expect(await response.json()).toMatchObject({ code: 'cursor_gone', field: 'cursor' });
  });

  it('gives only the types that were asked for, and refuses names that are none', async () => {
    const { server, base, headers } = await started();
    server.fake.push(fakeTransition('fleet', 'acme', 1));
    server.fake.push(fakeTransition('node', 'a', 1));
    const stream = await openStream(base, headers, '?cursor=c0&types=node,job');
    expect(JSON.parse((await stream.next())?.data ?? '')).toMatchObject({ type: 'node' });
    expect((await fetch(`${base}/events/stream?types=../x`, { headers })).status).toBe(400);
  });

  it('gives a caller of one organisation nothing of another, nor of none', async () => {
    const { server, base } = await started();
    server.fake.push(fakeTransition('node', 'a', 1), 'acme');
    server.fake.push(fakeTransition('order', 'x', 1), null);
    server.fake.push(fakeTransition('node', 'b', 1), 'beta');
    const stream = await openStream(base, await server.bearer('viewer', 'beta'), '?cursor=c0');
    expect(JSON.parse((await stream.next())?.data ?? '')).toMatchObject({ id: 'b' });
  });

  it('is closed to callers without a role or a token', async () => {
    const { server, base } = await started();
    expect((await fetch(`${base}/events/stream`)).status).toBe(401);
    expect((await fetch(`${base}/events/stream`, { headers: await server.bearer('none') })).status).toBe(403);
  });

  it('stops reading the feed when the client goes', async () => {
    const { server, base, headers } = await started();
    const stream = await openStream(base, headers);
    await followed(server);
    stream.close();
    await followed(server, 0);
    expect(server.fake.pulled).toBe(0);
  });

  it('ends when the server closes, and does not keep it from closing', async () => {
    const { server, base, headers } = await started();
    const stream = await openStream(base, headers);
    await followed(server);
    const closed = server.app.close();
    expect(await stream.next()).toBeUndefined();
    await closed;
    expect(server.fake.followers).toBe(0);
  });

  it('ends when the token expires', async () => {
    let time = Date.now();
    const { base, server } = await started({ now: () => time });
    const headers = await server.bearer('viewer');
    time += 3_600_000 - 1_050; // the token has 50 to 1,050 ms left
    const stream = await openStream(base, headers);
    expect(await stream.next()).toBeUndefined();
  });

  it('says why it ends when the reader fell behind what is kept', async () => {
    const { server, base, headers } = await started();
    const { CursorGoneError } = await import('../../src/protocol/errors.ts');
    server.fake.follow = async () =>
      // oxlint-disable-next-line require-yield -- it fails before its first item
      (async function* () {
        throw new CursorGoneError('c1');
      })();
    const stream = await openStream(base, headers);
    const frame = await stream.next();
    expect(frame?.event).toBe('problem');
    expect(JSON.parse(frame?.data ?? '')).toMatchObject({ status: 410, code: 'cursor_gone' });
    expect(await stream.next()).toBeUndefined();
  });

  it('beats while nothing happens', async () => {
    const { base, headers } = await started({ stream: { heartbeatMs: 10 } });
    const response = await fetch(`${base}/events/stream`, { headers });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    while (!text.includes(': still here')) text += (await reader?.read())?.value ?? '';
    await reader?.cancel();
    expect(text.startsWith('retry: ')).toBe(true);
  });
});

describe('a client that does not read', () => {
  async function pausedClient(base: string, authorization: string): Promise<Socket> {
    const { hostname, port } = new URL(base);
    const socket = connect(Number(port), hostname);
    onTestFinished(() => void socket.destroy());
    await once(socket, 'connect');
    socket.pause();
    socket.on('error', () => undefined);
    socket.write(`GET /events/stream?cursor=c0 HTTP/1.1\r\nhost: ${hostname}:${port}\r\nauthorization: ${authorization}\r\n\r\n`);
    return socket;
  }
  const wide = (revision: number) => fakeTransition('node', 'a', revision, { event: { type: 'STATUS', filler: 'x'.repeat(100_000) } });

  it('holds back the feed and is dropped when it takes nothing', async () => {
    const { server, base, headers } = await started({ stream: { stallMs: 300 } });
    for (let revision = 1; revision <= 1_000; revision++) server.fake.push(wide(revision));
    await pausedClient(base, headers.authorization);
    await followed(server);
    await followed(server, 0);
    // What the kernel's buffers took, not the 100 MB of the feed.
    expect(server.fake.pulled).toBeLessThan(500);
  });

  it('is let go of when its token expires', async () => {
    let time = Date.now();
    const { server, base, headers } = await started({ now: () => time });
    time += 3_600_000 - 1_500; // 0.5 to 1.5 s are left
    for (let revision = 1; revision <= 300; revision++) server.fake.push(wide(revision));
    await pausedClient(base, headers.authorization);
    await followed(server);
    await followed(server, 0);
    const connections = async () => await new Promise<number>((resolve) => server.app.server.getConnections((_error, count) => resolve(count)));
    await vi.waitFor(async () => expect(await connections()).toBe(0), { timeout: 5_000 });
    expect(server.fake.pulled).toBeLessThan(300);
  });

  it('does not keep the server from closing', async () => {
    const { server, base, headers } = await started();
    for (let revision = 1; revision <= 300; revision++) server.fake.push(wide(revision));
    await pausedClient(base, headers.authorization);
    await followed(server);
    const taken = await vi.waitFor(async () => {
      const before = server.fake.pulled;
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(server.fake.pulled).toBe(before);
      return before;
    });
    expect(taken).toBeLessThan(300);
    await server.app.close();
    expect(server.fake.followers).toBe(0);
  });

  it('loses nothing: it resumes by its cursor', async () => {
    const { server, base, headers } = await started();
    for (let revision = 1; revision <= 300; revision++) server.fake.push(wide(revision));
    const first = await openStream(base, headers, '?cursor=c0');
    let last = '';
    for (let count = 0; count < 100; count++) last = (await first.next())?.id ?? '';
    first.close();
    const second = await openStream(base, { ...headers, 'last-event-id': last });
    expect([last, (await second.next())?.id]).toEqual(['c100', 'c101']);
  });
});
