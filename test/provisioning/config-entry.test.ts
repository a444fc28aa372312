import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseConfigEntry, parseConfigPayload } from '../../src/provisioning/config-entry.ts';

const entry = (payload: unknown, more: readonly string[] = []) =>
  parseConfigEntry(['jobId', 'test-123', 'type', 'APPLY_DEVICE_CONFIG', 'payload', JSON.stringify(payload), ...more]);
const CONFIG = { services: ['ollama'] };

describe('an entry with a configuration', () => {
  it('carries it bare or wrapped', () => {
    expect(entry(CONFIG)).toEqual({ kind: 'config', jobId: 'test-123', config: CONFIG });
    expect(entry({ config: CONFIG, timeout_ms: 5 })).toEqual({ kind: 'config', jobId: 'test-123', config: CONFIG });
  });

  it('names its node in the entry or in the payload, in either spelling', () => {
    const expected = { kind: 'config', jobId: 'test-123', target: 'gpu-1', config: CONFIG };
    expect(entry(CONFIG, ['target_node', 'gpu-1'])).toEqual(expected);
    expect(entry(CONFIG, ['targetNode', 'gpu-1'])).toEqual(expected);
    expect(entry({ ...CONFIG, target_node: 'gpu-1' })).toEqual(expected);
    expect(entry({ config: CONFIG, targetNode: 'gpu-1' })).toEqual(expected);
    expect(entry({ ...CONFIG, target_node: 'gpu-1' }, ['target_node', 'gpu-1'])).toEqual(expected);
  });

  it('is refused when it names two nodes, or none that could be', () => {
    expect(entry({ ...CONFIG, target_node: 'gpu-2' }, ['target_node', 'gpu-1'])).toMatchObject({ kind: 'bad', field: 'target_node', target: 'gpu-1' });
    expect(entry(CONFIG, ['target_node', 'gpu-1', 'targetNode', 'gpu-2'])).toMatchObject({ kind: 'bad', field: 'target_node' });
    for (const target of ['{x}', '__proto__', '', 7]) expect(entry({ ...CONFIG, target_node: target })).toMatchObject({ kind: 'bad', field: 'target_node' });
  });

  it('says whom it is for even when its content is wrong: it is left to that node', () => {
    const broken = parseConfigEntry(['type', 'APPLY_DEVICE_CONFIG', 'payload', '{', 'target_node', 'gpu-1']);
    expect(broken).toMatchObject({ kind: 'bad', field: 'payload', target: 'gpu-1' });
  });

  it('gives the envelope when there is any trace of one, and only its fields', () => {
    const envelope = { config: CONFIG, nodeId: 'gpu-1', deviceId: 'd', revision: 3, issuedAt: 'x', expiresAt: 'y', signature: 'z' };
    expect(entry({ ...envelope, target_node: 'gpu-1', extra: 1 })).toEqual({ kind: 'config', jobId: 'test-123', target: 'gpu-1', config: CONFIG, envelope });
    expect(entry(envelope)).toMatchObject({ target: 'gpu-1' });
    expect(parseConfigPayload({ type: 'config_updated', nodeId: 'gpu-1', config: CONFIG, updatedAt: 'x' })).toEqual({ kind: 'config', config: CONFIG });
  });

  it('is left to others when it is of another type', () => {
    expect(parseConfigEntry(['jobId', 'x', 'type', 'LLM_INFERENCE', 'payload', '{}'])).toEqual({ kind: 'other', type: 'LLM_INFERENCE' });
    expect(parseConfigEntry([])).toEqual({ kind: 'other', type: undefined });
  });

  it('has an answer for whatever lies in a stream', () => {
    const field = fc.oneof(fc.constantFrom('jobId', 'type', 'payload', 'target_node', 'APPLY_DEVICE_CONFIG'), fc.string());
    fc.assert(
      fc.property(fc.array(fc.oneof(field, fc.json())), (fields) => {
        expect(['config', 'bad', 'other']).toContain(parseConfigEntry(fields).kind);
      }),
    );
    fc.assert(
      fc.property(fc.jsonValue(), (payload) => {
        expect(['config', 'bad']).toContain(entry(payload).kind);
      }),
    );
  });
});
