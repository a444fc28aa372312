import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { allowedNetwork } from '../../src/http/live/allowed-network.ts';
import { LIVE_BYTES_MAX } from '../../src/http/live/live-status.ts';
import { DEFAULT_LIVE_NETWORKS } from '../../src/http/settings.ts';
import { startFixture } from './server-fixture.ts';

const STATUS = { version: '1.0', node: { name: 'here' }, system: { cpu_percent: 1 } };

async function listen(server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    if ('closeAllConnections' in server) server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** Asks `/live` of the local node, whose agent behaves as given. */
async function askLocal(agent: (request: IncomingMessage, response: ServerResponse) => void, liveTimeoutMs = 2_000) {
  const port = await listen(createServer(agent));
  const server = await startFixture({ liveTimeoutMs, settings: { localNodeId: 'here' } });
  server.fake.liveTargets.set('here', { nodeId: 'here', orgId: null, networkIp: '10.1.2.3', statusPort: port });
  return await server.app.inject({ url: '/api/fabric/nodes/here/live', headers: await server.bearer('viewer') });
}

describe('the agent that was started with this control plane', () => {
  it('is asked on loopback, without credentials', async () => {
    const requests: IncomingMessage[] = [];
    const response = await askLocal((request, reply) => {
      requests.push(request);
      reply.end(JSON.stringify(STATUS));
    });
    expect(response.statusCode).toBe(200);
    expect(response.json()).toEqual(STATUS);
    expect(requests[0]?.url).toBe('/status');
    expect(requests[0]?.headers.authorization).toBeUndefined();
  });

  it('that does not answer is 504', async () => {
    const response = await askLocal(() => undefined, 100);
    expect(response.json()).toMatchObject({ status: 504, code: 'live_timeout' });
  });

  it('that begins and never ends is 504', async () => {
    const response = await askLocal((_request, reply) => void reply.write('{"node":'), 100);
    expect(response.json()).toMatchObject({ status: 504, code: 'live_timeout' });
  });

  it('that redirects is not followed', async () => {
    const response = await askLocal((_request, reply) => reply.writeHead(302, { location: 'http://169.254.169.254/' }).end());
    expect(response.json()).toMatchObject({ status: 502, code: 'live_invalid' });
  });

  it.each([
    ['something else', JSON.stringify({ secret: 'of another service' })],
    ['not JSON', '<html>'],
    ['too much', JSON.stringify({ ...STATUS, filler: 'x'.repeat(LIVE_BYTES_MAX) })],
  ])('that answers %s is 502 and nothing of it is shown', async (_what, body) => {
    const response = await askLocal((_request, reply) => reply.end(body));
    expect(response.json()).toMatchObject({ status: 502, code: 'live_invalid' });
    expect(response.body).not.toContain('of another service');
  });
});

describe('addresses that a node may not name', () => {
  it.each([
    '127.0.0.1',
    '::1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '169.254.169.254',
    '8.8.8.8',
    '0.0.0.0',
    'localhost',
    '2130706433',
    '0x7f.1',
    'fe80::1%eth0',
    '10.0.0.1@evil',
    '',
  ])('%j is refused and never connected to', async (address) => {
    let connections = 0;
    const port = await listen(createTcpServer((socket) => void (connections++, socket.destroy())));
    const server = await startFixture({ settings: { localNodeId: 'here' } });
    server.fake.liveTargets.set('there', { nodeId: 'there', orgId: null, tailscaleIp: address, statusPort: port });
    const response = await server.app.inject({ url: '/api/fabric/nodes/there/live', headers: await server.bearer('viewer') });
    expect(response.json()).toMatchObject({ status: 502, code: 'live_refused' });
    expect(connections).toBe(0);
  });

  it.each([22, 80, 1023, 70_000, 1.5])('port %d is refused', async (statusPort) => {
    const server = await startFixture();
    server.fake.liveTargets.set('there', { nodeId: 'there', orgId: null, networkIp: '10.0.0.1', statusPort });
    const response = await server.app.inject({ url: '/api/fabric/nodes/there/live', headers: await server.bearer('viewer') });
    expect(response.json()).toMatchObject({ status: 502, code: 'live_refused' });
  });

  it('a node without an address is refused', async () => {
    const server = await startFixture();
    server.fake.liveTargets.set('there', { nodeId: 'there', orgId: null });
    const response = await server.app.inject({ url: '/api/fabric/nodes/there/live', headers: await server.bearer('viewer') });
    expect(response.json()).toMatchObject({ status: 502, code: 'live_refused' });
  });

  it('the peer of the socket counts: an allowed name for a forbidden place is cut before a byte is sent', async () => {
    // 127.0.0.2 is allowed here by its literal address, and the guard is told that only 127.0.0.3 may be connected to.
    const { guardedDispatcher } = await import('../../src/http/live/live-status.ts');
    const { request } = await import('undici');
    let bytes = 0;
    const port = await listen(createTcpServer((socket) => socket.on('data', (data) => (bytes += data.length))));
    const dispatcher = guardedDispatcher(allowedNetwork(['127.0.0.3/32']), 1_000);
    onTestFinished(() => dispatcher.destroy());
    await expect(request(`http://127.0.0.1:${port}/status`, { dispatcher })).rejects.toThrow('outside the enrolled network');
    expect(bytes).toBe(0);
  });
});

describe('networks', () => {
  it('hold what they should', () => {
    const allowed = allowedNetwork(DEFAULT_LIVE_NETWORKS);
    for (const address of ['100.64.0.1', '100.127.255.254', '10.0.0.1', '172.31.0.1', '192.168.0.10', 'fd7a:115c:a1e0::1', '::ffff:10.0.0.1'])
      expect([address, allowed(address)]).toEqual([address, true]);
    for (const address of ['100.63.255.255', '100.128.0.1', '172.32.0.1', '2001:db8::1', '::']) expect([address, allowed(address)]).toEqual([address, false]);
  });

  it.each(['10.0.0.0', '10.0.0.0/33', 'host/8', '10.0.0.0/x'])('%s is no network', (network) => {
    expect(() => allowedNetwork([network])).toThrow(/LIVE_NETWORKS/);
  });
});
