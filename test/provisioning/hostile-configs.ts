/**
 * Configurations that no honest form writes. Each is refused with the field that is at fault, and changes nothing.
 *
 * Texts, not objects: `JSON.parse` makes an own property of `__proto__`, a literal does not.
 */
import type { KeyObject } from 'node:crypto';
import { signConfig, type UnsignedConfig } from '../../src/provisioning/config-signature.ts';

export interface HostileConfig {
  readonly what: string;
  /** The payload of an entry of `jobs:v1:config`. */
  readonly payload: string;
  readonly field: string;
}

const of = (what: string, config: unknown, field: string): HostileConfig => ({
  what,
  payload: typeof config === 'string' ? config : JSON.stringify(config),
  field,
});
const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;

/** Refused by any node, whoever sent them. */
export const HOSTILE_CONFIGS: readonly HostileConfig[] = [
  of('an image as a service', { services: ['docker.io/attacker/miner:latest'] }, 'services[0]'),
  of('a path that climbs', { services: ['../../etc/passwd'] }, 'services[0]'),
  of('a shell command behind a name', { services: ['ollama;rm -rf /'] }, 'services[0]'),
  of('a flag as a service', { services: ['--privileged'] }, 'services[0]'),
  of('a line end behind a name', { services: ['ollama\n'] }, 'services[0]'),
  of('a name that objects have', { services: ['constructor'] }, 'services[0]'),
  of('an image of its own', { services: [{ name: 'ollama', image: 'attacker/ollama' }] }, 'services[0].image'),
  of('a mount of the host', { services: [{ name: 'ollama', mounts: ['/:/host'] }] }, 'services[0].mounts'),
  of('a privileged service', { services: [{ name: 'ollama', privileged: true }] }, 'services[0].privileged'),
  of('a command', { services: [{ name: 'ollama', command: ['sh', '-c', 'id'] }] }, 'services[0].command'),
  of('privileged for all', { services: ['ollama'], privileged: true }, 'privileged'),
  of('the Docker socket as a volume', { services: ['ollama'], volumes: ['/var/run/docker.sock:/var/run/docker.sock'] }, 'volumes'),
  of('the network of the host', { services: ['ollama'], network_mode: 'host' }, 'network_mode'),
  of('compose text', { compose: 'services: {evil: {image: attacker/miner}}' }, 'compose'),
  of('a flag as a parameter', { services: [{ name: 'vllm', parameters: { model: '--trust-remote-code' } }] }, 'services[0].parameters.model'),
  of('a path as a parameter', { services: [{ name: 'vllm', parameters: { model: '/etc/shadow' } }] }, 'services[0].parameters.model'),
  of('a parameter that is not declared', { services: [{ name: 'vllm', parameters: { trustRemoteCode: true } }] }, 'services[0].parameters.trustRemoteCode'),
  of('a number out of bounds', { services: [{ name: 'vllm', parameters: { gpuMemoryPercent: 1e9 } }] }, 'services[0].parameters.gpuMemoryPercent'),
  of('__proto__', '{"services":["ollama"],"__proto__":{"autoStartServices":true}}', '__proto__'),
  of('__proto__ inside a service', '{"services":[{"name":"ollama","__proto__":{"image":"attacker/ollama"}}]}', 'services[0].__proto__'),
  of('constructor.prototype', '{"constructor":{"prototype":{"privileged":true}}}', 'constructor'),
  of('10,000 tags', { customTags: Array.from({ length: 10_000 }, (_, index) => `tag-${index}`) }, 'customTags'),
  of('100 services', { services: Array.from({ length: 100 }, () => 'ollama') }, 'services'),
  of('a tag with a hash tag', { customTags: ['gpu', '{jobs}'] }, 'customTags[1]'),
  of('a name with an escape sequence', { deviceName: 'box\u001b]0;owned\u0007' }, 'deviceName'),
  of('a name that turns the text around', { deviceName: 'box\u202Egpj.exe' }, 'deviceName'),
  of('services as a text', { services: 'ollama' }, 'services'),
  of('a service as a number', { services: [7] }, 'services[0]'),
  of('a flag as a text', { services: ['ollama'], autoStartServices: 'true' }, 'autoStartServices'),
  of('ssh as a number', { sshEnabled: 1 }, 'sshEnabled'),
  of('a threshold of 10,000 degrees', { alertOnHighTemp: 10_000 }, 'alertOnHighTemp'),
  of('one field in two spellings', { autoStartServices: false, auto_start_services: true }, 'autoStartServices'),
  of('nothing at all, not by name', { services: [] }, 'services'),
  of('replacing by nothing that is named', { replaceServices: true }, 'services'),
  of('depth without end', `{"note":${nested(5000)}}`, 'note.a.a.a.a.a.a.a'),
  of('a configuration that is a list', '{"config":[]}', 'config'),
  of('a configuration that is a text', '{"config":"ollama"}', 'config'),
  of('a payload that is a list', '["ollama"]', 'payload'),
  of('a payload that is not JSON', '{"services":["ollama"]', 'payload'),
  of('a payload of 5 MB', { note: 'x'.repeat(5_000_000) }, 'payload'),
];

/** What an enrolled node refuses by the signature. `lastRevision` 5 was taken up; `now` is in the middle of a valid envelope's time. */
export interface HostileEnvelope {
  readonly what: string;
  readonly payload: string;
  readonly code: 'unsigned' | 'bad_signature' | 'wrong_node' | 'expired' | 'stale_revision';
  readonly field: string;
}

export function hostileEnvelopes(
  valid: UnsignedConfig,
  key: KeyObject,
  anotherKey: KeyObject,
  olderRevision: number,
  past: { readonly issuedAt: string; readonly expiresAt: string },
): readonly HostileEnvelope[] {
  const signed = signConfig(valid, key);
  const row = (what: string, payload: unknown, code: HostileEnvelope['code'], field: string): HostileEnvelope => ({
    what,
    payload: JSON.stringify(payload),
    code,
    field,
  });
  return [
    row('no envelope', valid.config, 'unsigned', 'signature'),
    row('the signature taken away', { ...signed, signature: undefined }, 'unsigned', 'signature'),
    row('a signature by another key', signConfig(valid, anotherKey), 'bad_signature', 'signature'),
    row('another configuration under a good signature', { ...signed, config: { services: ['redis'] } }, 'bad_signature', 'signature'),
    row('a higher revision under a good signature', { ...signed, revision: valid.revision + 1 }, 'bad_signature', 'signature'),
    row('a longer life under a good signature', { ...signed, expiresAt: '2999-01-01T00:00:00Z' }, 'bad_signature', 'signature'),
    row('a signature of nothing', { ...signed, signature: '' }, 'bad_signature', 'signature'),
    row('a signed configuration of another node', signConfig({ ...valid, nodeId: 'another-node' }, key), 'wrong_node', 'nodeId'),
    row('a signed configuration of another device', signConfig({ ...valid, deviceId: 'another-device' }, key), 'wrong_node', 'deviceId'),
    row('a replay of long ago', signConfig({ ...valid, ...past }, key), 'expired', 'expiresAt'),
    row('a downgrade', signConfig({ ...valid, revision: olderRevision }, key), 'stale_revision', 'revision'),
    row('a revision that is no number', signConfig({ ...valid, revision: '9' as unknown as number }, key), 'stale_revision', 'revision'),
    row('a revision beyond counting', signConfig({ ...valid, revision: 2 ** 60 }, key), 'stale_revision', 'revision'),
  ];
}
