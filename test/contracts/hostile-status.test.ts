/** Entries that no honest agent writes: each is refused with the field that is at fault, none throws, none takes long to say so. */
import { describe, expect, it } from 'vitest';
import { nodeStatusSource } from '../../src/contracts/citadel.ts';
import { EXCERPT_LENGTH } from '../../src/protocol/dead-letter.ts';

const ID = '1700000000123-4';
const GOOD = { version: '1.0', nodeId: 'gpu-1', status: { node: { name: 'gpu-1' }, system: {} } };

function entry(payload: unknown, nodeId = 'gpu-1'): readonly string[] {
  return ['nodeId', nodeId, 'timestamp', 'x', 'payload', typeof payload === 'string' ? payload : JSON.stringify(payload)];
}

function withStatus(status: object): readonly string[] {
  return entry({ ...GOOD, status: { ...GOOD.status, ...status } });
}

const nested = (opener: string, closer: string, depth: number) => opener.repeat(depth) + '0' + closer.repeat(depth);

const HOSTILE: readonly (readonly [what: string, fields: readonly string[], code: string, field: string])[] = [
  ['no fields at all', [], 'missing_field', 'nodeId'],
  ['no node id', ['payload', JSON.stringify(GOOD)], 'missing_field', 'nodeId'],
  ['no payload', ['nodeId', 'gpu-1'], 'missing_field', 'payload'],
  ['an empty node id', entry(GOOD, ''), 'invalid_node_id', 'nodeId'],
  ['a node id with a hash tag', entry(GOOD, 'gpu{p7}'), 'invalid_node_id', 'nodeId'],
  ['a node id that climbs', entry(GOOD, '../fleet'), 'invalid_node_id', 'nodeId'],
  ['a node id of 65 characters', entry(GOOD, 'x'.repeat(65)), 'invalid_node_id', 'nodeId'],
  ['the node id __proto__', entry(GOOD, '__proto__'), 'invalid_node_id', 'nodeId'],
  ['two node ids', [...entry(GOOD), 'nodeId', 'gpu-2'], 'conflicting_field', 'nodeId'],
  ['two payloads', [...entry(GOOD), 'payload', '{}'], 'conflicting_field', 'payload'],
  ['an organisation with a colon', [...entry(GOOD), 'orgId', 'a:b'], 'invalid_org_id', 'orgId'],
  ['a payload of 5 MB', entry({ ...GOOD, filler: 'x'.repeat(5_000_000) }), 'payload_too_large', 'payload'],
  ['a payload large only in bytes', entry({ ...GOOD, filler: '€'.repeat(100_000) }), 'payload_too_large', 'payload'],
  ['an empty payload', entry(''), 'not_json', 'payload'],
  ['a payload that is not JSON', entry('{"version": 1.0,'), 'not_json', 'payload'],
  ['a payload that is a list', entry([GOOD]), 'invalid_shape', 'payload'],
  ['a payload that is null', entry('null'), 'invalid_shape', 'payload'],
  ['a payload without a status', entry({ version: '1.0', nodeId: 'gpu-1' }), 'invalid_shape', 'payload.status'],
  ['a status that is a text', entry({ ...GOOD, status: 'fine' }), 'invalid_shape', 'payload.status'],
  ['another node in the payload', entry({ ...GOOD, nodeId: 'gpu-2' }), 'node_id_mismatch', 'payload.nodeId'],
  ['another node in snake_case', entry({ version: '1.0', node_id: 'gpu-2', status: {} }), 'node_id_mismatch', 'payload.nodeId'],
  ['a node id that is a number', entry({ ...GOOD, nodeId: 7 }), 'invalid_shape', 'payload.nodeId'],
  ['__proto__ at the top', entry('{"nodeId":"gpu-1","status":{},"__proto__":{"admin":true}}'), 'forbidden_key', 'payload.__proto__'],
  ['__proto__ inside', entry('{"status":{"node":{"__proto__":{"name":"x"}}}}'), 'forbidden_key', 'payload.status.node.__proto__'],
  ['__proto__ in escapes', entry(String.raw`{"status":{"gpu":[{"__pr\u006fto__":1}]}}`), 'forbidden_key', 'payload.status.gpu[0].__proto__'],
  ['lists 100,000 deep', entry(`{"status":{},"x":${nested('[', ']', 100_000)}}`), 'too_deep', 'payload'],
  ['objects 33 deep, not in a row', entry(`{"status":{},"x":${nested('{"a":"}","b":', '}', 33)}}`), 'too_deep', 'payload'],
  ['a timestamp that is no time', entry({ ...GOOD, timestamp: 'yesterday' }), 'invalid_shape', 'payload.timestamp'],
  ['a name that is an object', withStatus({ node: { name: {} } }), 'invalid_shape', 'payload.status.node.name'],
  ['a name of 10,000 characters', withStatus({ node: { name: 'x'.repeat(10_000) } }), 'invalid_shape', 'payload.status.node.name'],
  ['a reading that is a text', withStatus({ system: { disk_percent: 'a lot' } }), 'invalid_shape', 'payload.status.system.disk_percent'],
  [
    'a temperature that is a list',
    withStatus({ gpu: [{ index: 0 }, { index: 1, temperature_celsius: [70] }] }),
    'invalid_shape',
    'payload.status.gpu[1].temperature_celsius',
  ],
  ['a service without a status', withStatus({ services: [{ name: 'vllm' }] }), 'invalid_shape', 'payload.status.services[0].status'],
  ['1,000 services', withStatus({ services: Array.from({ length: 1_000 }, () => ({ name: 'a', status: 'up' })) }), 'invalid_shape', 'payload.status.services'],
  ['a list of services that is an object', withStatus({ services: { 0: {} } }), 'invalid_shape', 'payload.status.services'],
];

describe('a hostile status entry', () => {
  it.each(HOSTILE)('%s is refused and its field named', (_what, fields, code, field) => {
    const result = nodeStatusSource.decode(ID, fields);
    expect(result).toMatchObject({ ok: false, code, field });
    if (result.ok) return;
    expect(result.reason).toContain(field);
    expect(result.excerpt.length).toBeLessThanOrEqual(EXCERPT_LENGTH);
  });

  it.each(HOSTILE)('%s leaves no trace on prototypes', (_what, fields) => {
    nodeStatusSource.decode(ID, fields);
    expect(({} as { admin?: unknown }).admin).toBeUndefined();
    expect(Object.keys(Object.prototype)).toEqual([]);
  });
});

describe('what only looks hostile', () => {
  it.each([
    ['a text that says __proto__', withStatus({ node: { name: '__proto__' } })],
    ['an escaped name', entry(String.raw`{"nodeId":"gpu-1","status":{"node":{"name":"k\u00fcche"}}}`)],
    ['brackets in a text', withStatus({ node: { name: '[{'.repeat(60) } })],
    ['the same node id twice', [...entry(GOOD), 'node_id', 'gpu-1']],
    ['a reading of 1e999', entry('{"status":{"system":{"cpu_percent":1e999}}}')],
  ])('%s is accepted', (_what, fields) => {
    expect(nodeStatusSource.decode(ID, fields)).toMatchObject({ ok: true });
  });
});
