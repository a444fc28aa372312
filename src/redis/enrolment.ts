/**
 * Enrolments over Redis: each change is one Function (enrolment-functions.lua).
 *
 * 1. All keys share the hash tag `{enrol}`, so that one Function may change several of them on a Cluster.
 * 2. Names in keys are hashes, ids of devices and ids of nodes: none holds a brace.
 */
import type { Redis } from 'ioredis';
import type { DevicePrincipal } from '../protocol/device.ts';
import type { Enrolment } from '../protocol/enrolment.ts';
import { RedisUnusableError } from '../protocol/errors.ts';
import { keepSubscribed } from './clients.ts';
import { createFunctionLibrary, type FunctionCall } from './function-library.ts';
import type { Keys } from './keys.ts';

/** RFC 8628, 3.5: a poll that is too early makes the interval 5 s longer, for this and all further ones. */
const LONGER_MS = 5_000;
/** Two polls that left the device an interval apart may arrive so much nearer to one another. */
const TOLERANCE_MS = 500;
/** A name that was claimed for an approval that never came to pass is free again after so long. */
const CLAIM_MS = 600_000;

type Name = 'open' | 'poll' | 'redeem' | 'rotate' | 'revoke' | 'claim_node' | 'keep_node' | 'release_node';

export interface EnrolmentParts {
  /** For commands; nobody blocks it. */
  readonly client: Redis;
  /** Connected; others may use it too. Neither is closed here. */
  readonly subscriber: Redis;
  readonly keys: Keys;
}

export function createEnrolment({ client, subscriber, keys }: EnrolmentParts): Enrolment {
  const library = createFunctionLibrary<Name>(['enrolment-functions.lua']);
  const { enrolment } = keys;
  let stop: (() => Promise<void>) | undefined;

  const call = async (what: string, request: FunctionCall<Name>): Promise<unknown> => {
    const [reply] = await library.call(client, [request]).catch((error: unknown) => [error]);
    if (reply instanceof Error) throw new RedisUnusableError(`Redis could not ${what}: ${reply.message}`, { cause: reply });
    return reply;
  };
  const device = (deviceId: string): string => enrolment('device', deviceId);
  const token = (hash: string): string => enrolment('token', hash);
  const tokens = (deviceId: string): string => enrolment('tokens', deviceId);
  const node = (nodeId: string): string => enrolment('node', nodeId);

  return {
    async open({ userHash, deviceId, lifetimeMs, intervalMs }) {
      const args = [deviceId, lifetimeMs, intervalMs];
      return (await call('open an enrolment', { name: 'open', keys: [enrolment('user', userHash), device(deviceId)], args })) === 1;
    },
    deviceOf: async (userHash) => (await guard('read a user code', client.get(enrolment('user', userHash)))) ?? undefined,
    async closeUserCode(userHash) {
      await guard('end a user code', client.del(enrolment('user', userHash)));
    },
    async poll(deviceId) {
      const reply = (await call('count a poll', { name: 'poll', keys: [device(deviceId)], args: [LONGER_MS, TOLERANCE_MS] })) as string[];
      if (reply[0] === 'early') return { kind: 'early', intervalMs: Number(reply[1]) };
      return reply[0] === 'in-time' ? { kind: 'in-time' } : { kind: 'over' };
    },
    async redeem(principal, tokenHash) {
      const { deviceId } = principal;
      const names = [device(deviceId), token(tokenHash), tokens(deviceId)];
      return (await call('redeem a device code', { name: 'redeem', keys: names, args: [written(principal), tokenHash] })) === 1;
    },
    async rotate(principal, tokenHash, graceMs) {
      const args = [written(principal), tokenHash, graceMs, token('')];
      return (await call('rotate a device token', { name: 'rotate', keys: [token(tokenHash), tokens(principal.deviceId)], args })) === 1;
    },
    async principalOf(tokenHash) {
      const text = await guard('look for a device token', client.get(token(tokenHash)));
      return text === null ? undefined : (JSON.parse(text) as DevicePrincipal);
    },
    async haveTokens(deviceIds) {
      if (deviceIds.length === 0) return [];
      const pipeline = client.pipeline();
      for (const deviceId of deviceIds) pipeline.exists(tokens(deviceId));
      const replies = (await guard('look for device tokens', pipeline.exec())) ?? [];
      return replies.map(([error, found]) => {
        if (error !== null) throw new RedisUnusableError(`Redis could not look for device tokens: ${error.message}`, { cause: error });
        return found === 1;
      });
    },
    async revoke(deviceId) {
      await call('revoke a device', { name: 'revoke', keys: [device(deviceId), tokens(deviceId)], args: [deviceId, token(''), keys.devicesBell] });
    },
    async claimNode(deviceId, names, from = '') {
      const index = await call('claim a name', { name: 'claim_node', keys: names.map(node), args: [deviceId, CLAIM_MS, from] });
      return names[Number(index) - 1];
    },
    async keepNode(deviceId, nodeId) {
      await call('keep a name', { name: 'keep_node', keys: [node(nodeId)], args: [deviceId] });
    },
    async releaseNode(deviceId, nodeId) {
      await call('release a name', { name: 'release_node', keys: [node(nodeId)], args: [deviceId] });
    },
    machineDevice: async (machine) => (await guard('look for a machine', client.get(enrolment('machine', machine)))) ?? undefined,
    async setMachineDevice(machine, deviceId) {
      await guard('note a machine', client.set(enrolment('machine', machine), deviceId));
    },

    async listen(told) {
      const onMessage = (channel: string, deviceId: string): void => void (channel === keys.devicesBell && told(deviceId));
      subscriber.on('message', onMessage);
      const leave = await keepSubscribed(
        subscriber,
        () => subscriber.subscribe(keys.devicesBell),
        () => told(null),
      );
      stop = async () => {
        leave();
        subscriber.off('message', onMessage);
        if (subscriber.status === 'ready') await subscriber.unsubscribe(keys.devicesBell).catch(() => undefined);
      };
    },
    async close() {
      await stop?.();
      stop = undefined;
    },
  };
}

/** By its fields, whatever else the object has. */
function written({ deviceId, nodeId, orgId }: DevicePrincipal): string {
  return JSON.stringify({ deviceId, nodeId, orgId });
}

async function guard<Value>(what: string, promise: Promise<Value>): Promise<Value> {
  try {
    return await promise;
  } catch (error) {
    throw new RedisUnusableError(`Redis could not ${what}: ${(error as Error).message}`, { cause: error });
  }
}
