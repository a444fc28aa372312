/** What a webhook's receiver gets, and which receivers get nothing. */
import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { alertBody, alertMessage } from '../../src/contracts/device-config.ts';
import { notifyAlertExecutor } from '../../src/devices/notify-alert.ts';
import { isLoopback } from '../../src/http/live/allowed-network.ts';
import { publicAddress, webhookPoster } from '../../src/http/live/webhook.ts';
import type { Delivery } from '../../src/protocol/command.ts';

const SECRET = 'a-secret-of-the-receiver';
const NOW = 1_767_225_600_000;
const delivery: Delivery = {
  key: 'alert/n1.offline#1-1-0',
  actor: 'alert/n1.offline',
  epoch: 1,
  revision: 1,
  at: NOW,
  command: {
    kind: 'effect',
    name: 'notifyAlert',
    params: { incident: 'n1.offline-1', phase: 'firing', nodeId: 'n1', orgId: 'acme', kind: 'offline', reason: 'node n1 is offline' },
  },
};
const signal = new AbortController().signal;

interface Got {
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** Answers with these HTTP statuses, the last one for ever. */
async function receiver(...statuses: number[]): Promise<{ readonly url: string; readonly got: Got[] }> {
  const got: Got[] = [];
  const server: Server = createServer((request, response) => {
    let body = '';
    request.on('data', (part: Buffer) => (body += part.toString()));
    request.on('end', () => {
      got.push({ headers: request.headers, body });
      response.writeHead(statuses[Math.min(got.length, statuses.length) - 1] ?? 200, { location: '/elsewhere' }).end('ok');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, got };
}

function executor(url: string, allowed = isLoopback) {
  const poster = webhookPoster({ allowed });
  onTestFinished(() => poster.close());
  return notifyAlertExecutor({ url, secret: SECRET, encode: alertBody, post: (request, ended) => poster.post(request, ended), now: () => NOW });
}

describe('a webhook', () => {
  it('gets the notice with a signature over the time and the body, and a key that is the same at every try', async () => {
    const { url, got } = await receiver(500, 200);
    const notify = executor(url);
    await expect(notify(delivery, signal)).rejects.toThrow('HTTP status 500');
    await notify(delivery, signal);
    expect(got).toHaveLength(2);
    for (const { headers, body } of got) {
      const timestamp = String(NOW / 1_000);
      expect(headers['x-castellan-timestamp']).toBe(timestamp);
      expect(headers['x-castellan-signature']).toBe(`sha256=${createHmac('sha256', SECRET).update(`${timestamp}.${body}`).digest('hex')}`);
      expect(headers['idempotency-key']).toBe(delivery.key);
      expect(JSON.parse(body)).toEqual({
        version: '1.0',
        incident: 'n1.offline-1',
        phase: 'firing',
        nodeId: 'n1',
        orgId: 'acme',
        kind: 'offline',
        reason: 'node n1 is offline',
        at: '2026-01-01T00:00:00.000Z',
        id: delivery.key,
      });
    }
  });

  it('is not followed elsewhere', async () => {
    const { url, got } = await receiver(302);
    await expect(executor(url)(delivery, signal)).rejects.toThrow('HTTP status 302');
    expect(got).toHaveLength(1);
  });

  it('that is not at a public address gets nothing, by name or by number', async () => {
    const { url, got } = await receiver(200);
    for (const target of [url, url.replace('127.0.0.1', 'localhost')])
      await expect(executor(target, publicAddress())(delivery, signal)).rejects.toThrow('not at a public address');
    expect(got).toEqual([]);
  });

  it('need not be set', async () => {
    await expect(notifyAlertExecutor(undefined)(delivery, signal)).resolves.toBeUndefined();
    expect(alertMessage(delivery)[0]).toBe('fleet:alert:acme');
  });
});

describe('a public address', () => {
  const isPublic = publicAddress();
  it.each(['1.1.1.1', '93.184.216.34', '2606:4700:4700::1111'])('is %s', (address) => expect(isPublic(address)).toBe(true));
  it.each([
    ...['127.0.0.1', '10.1.2.3', '172.31.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255'],
    ...['::1', '::', 'fe80::1', 'fc00::1', 'fd12::1', 'ff02::1', '::ffff:10.0.0.1', '::ffff:7f00:1', '64:ff9b::a00:1', '2002:a00:1::', '2001:db8::1', 'x', ''],
  ])('is not %s', (address) => expect(isPublic(address)).toBe(false));
});
