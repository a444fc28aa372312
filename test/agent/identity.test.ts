import { expect, test } from 'vitest';
import { nodeAddresses, nodeIdFrom } from '../../src/agent/identity.ts';
import { InvalidIdError } from '../../src/protocol/errors.ts';

const ipv4 = (address: string, internal = false) => ({ family: 'IPv4', address, internal });

test('a requested id is taken as it is, or refused', () => {
  expect(nodeIdFrom('gpu-1.rack_2', 'host')).toBe('gpu-1.rack_2');
  for (const bad of ['', 'a b', '{x}', 'a/b', 'x'.repeat(65), 'ä']) expect(() => nodeIdFrom(bad, 'host')).toThrow(InvalidIdError);
});

test('a hostname is made to fit', () => {
  expect(nodeIdFrom(undefined, 'gpu-1.example.org')).toBe('gpu-1.example.org');
  expect(nodeIdFrom(undefined, "Kai's Mac Studio")).toBe('Kai-s-Mac-Studio');
  expect(nodeIdFrom(undefined, 'x'.repeat(80))).toHaveLength(64);
  expect(nodeIdFrom(undefined, '')).toBe('node');
  expect(nodeIdFrom(undefined, '日本')).toBe('node');
});

test('the mesh address is the one in 100.64.0.0/10, the network address the first private one', () => {
  const interfaces = {
    lo: [ipv4('127.0.0.1', true)],
    eth0: [{ family: 'IPv6', address: 'fe80::1', internal: false }, ipv4('203.0.113.7'), ipv4('192.168.1.20')],
    eth1: [ipv4('10.0.0.5')],
    tailscale0: [ipv4('100.101.102.103')],
  };
  expect(nodeAddresses(interfaces)).toEqual({ tailscale: '100.101.102.103', network: '192.168.1.20' });
});

test('the edges of the ranges', () => {
  const of = (address: string) => nodeAddresses({ eth0: [ipv4(address)] });
  expect(of('100.64.0.0')).toEqual({ tailscale: '100.64.0.0' });
  expect(of('100.127.255.255')).toEqual({ tailscale: '100.127.255.255' });
  expect(of('100.63.255.255')).toEqual({});
  expect(of('100.128.0.0')).toEqual({});
  expect(of('172.16.0.1')).toEqual({ network: '172.16.0.1' });
  expect(of('172.32.0.1')).toEqual({});
  expect(of('192.169.0.1')).toEqual({});
});

test('a bridge for containers is no address of the node', () => {
  expect(nodeAddresses({ docker0: [ipv4('172.17.0.1')], 'br-0a1b': [ipv4('172.18.0.1')], eno1: [ipv4('10.1.2.3')] })).toEqual({ network: '10.1.2.3' });
});
