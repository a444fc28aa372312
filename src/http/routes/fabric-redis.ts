/**
 * Redis for nodes without credentials for it (contracts 7): an allow-list, behind a device token.
 *
 * 1. Node and organisation are the token's; what a body says of them is checked or ignored (fabric/allowed.ts).
 * 2. A request that waits ends with its connection, with its token, and with the server.
 * 3. An entry that was taken for an answer that nobody read stays pending: its client is given it again (protocol/fabric-redis.ts, 3).
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Devices } from '../../protocol/device.ts';
import { CONFIG_STREAM, DEVICE_REPORTS } from '../../protocol/device-config.ts';
import { fabricConsumer, type FabricRedis, type JobTelling } from '../../protocol/fabric-redis.ts';
import { deviceOf, type AdmittedDevice } from '../access.ts';
import type { DeviceTokens } from '../auth/device-tokens.ts';
import * as schemas from '../device-schemas.ts';
import * as allowed from '../fabric/allowed.ts';
import { refuse } from '../fabric/answers.ts';
import { refused, type NodeGate } from '../fabric/node-gate.ts';
import { sendProblem } from '../problem.ts';
import { problemDocument } from '../schemas.ts';
import type { App, RouteContext } from './context.ts';

/** Shorter than the time-outs of proxies and of the agents' own clients. */
const BLOCK_MS_MAX = 20_000;
const COUNT_MAX = 100;
/** Requests of one node that wait at once: jobs, configurations, and a reconnect. */
const WAITING_MAX = 8;

export interface FabricOptions {
  readonly devices: Devices;
  readonly tokens: DeviceTokens;
  readonly redis: FabricRedis;
  readonly gate: NodeGate;
}

export function fabricRedisRoutes(app: App, { now }: Pick<RouteContext, 'now'>, { devices, tokens, redis, gate }: FabricOptions): void {
  const waiting = new Map<string, number>();
  const shared = { config: { access: 'device' }, preHandler: gate.limit } as const;
  const at = (): string => new Date(now()).toISOString();

  /** Tells of a job that the node has. */
  const tell = async (request: FastifyRequest, reply: FastifyReply, jobId: string, text: string, to: JobTelling['to'], field: string) => {
    const node = deviceOf(request);
    const held = await gate.held(node.nodeId, jobId);
    if (!held.ok) return { ok: false as const, reply: refused(reply, held) };
    const message = allowed.readProgress(node, held.value, text, field);
    if (!message.ok) return { ok: false as const, reply: refused(reply, message) };
    const id = await redis.tell(node.nodeId, held.value, { text: message.value, to });
    return id === undefined ? { ok: false as const, reply: refused(reply, allowed.notHeld(jobId)) } : { ok: true as const, id };
  };

  app.get('/api/fabric/redis/ping', {
    ...shared,
    schema: { summary: 'Whether the token is good and Redis answers', tags: ['nodes without Redis'], response: { 200: schemas.pong } },
    handler: async () => {
      await redis.ping();
      return { status: 'ok' as const, pong: true as const, timestamp: at() };
    },
  });

  app.post('/api/fabric/redis/pubsub/publish', {
    ...shared,
    schema: {
      summary: 'Publishes the node’s status, or progress of a job that it has',
      tags: ['nodes without Redis'],
      body: schemas.publishBody,
      response: { 200: schemas.published, 403: problemDocument },
    },
    handler: async (request, reply) => {
      const { channel, message } = request.body;
      const node = deviceOf(request);
      const text = typeof message === 'string' ? message : JSON.stringify(message);
      const target = allowed.readChannel(node, channel);
      if (!target.ok) return refused(reply, target);
      if (target.value.kind === 'job') {
        const told = await tell(request, reply, target.value.jobId, text, 'channel', 'message');
        if (!told.ok) return told.reply;
      } else {
        const status = allowed.readStatusMessage(node, text);
        if (!status.ok) return refused(reply, status);
        await redis.publish(channel, status.value);
      }
      return reply.send({ published: true, success: true });
    },
  });

  app.post('/api/fabric/redis/streams/add', {
    ...shared,
    schema: {
      summary: 'Appends the node’s status, its report about a configuration, or a report of a job that it has',
      tags: ['nodes without Redis'],
      body: schemas.addBody,
      response: { 200: schemas.added, 403: problemDocument },
    },
    handler: async (request, reply) => {
      const { stream, values } = request.body;
      const node = deviceOf(request);
      const target = allowed.readStream(stream, values);
      if (!target.ok) return refused(reply, target);
      switch (target.value.kind) {
        case 'status': {
          const entry = allowed.readStatusEntry(node, values, (code) => devices.idOf(code), at());
          if (!entry.ok) return refused(reply, entry);
          const messageId = await redis.add(stream, entry.value.fields, allowed.STATUS_STREAM_LENGTH);
          return reply.send({ success: true, messageId, ...(entry.value.code === undefined ? {} : { redeemed: true as const }) });
        }
        case 'device-report': {
          const report = allowed.readDeviceReport(node, values);
          if (!report.ok) return refused(reply, report);
          return reply.send({ success: true, messageId: await redis.add(DEVICE_REPORTS, report.value) });
        }
        case 'job': {
          const told = await tell(request, reply, target.value.jobId, allowed.progressIn(values), target.value.to, 'values.progress');
          return told.ok ? reply.send({ success: true, messageId: told.id }) : told.reply;
        }
      }
    },
  });

  app.post('/api/fabric/redis/jobs/consume', {
    ...shared,
    schema: {
      summary: `Takes entries of the node’s queues; waits up to ${BLOCK_MS_MAX} ms for the first one`,
      tags: ['nodes without Redis'],
      body: schemas.consumeBody,
      response: { 200: schemas.consumed, 403: problemDocument },
    },
    handler: async (request, reply) => {
      const { queue, queues = [], group, consumer, count, blockMs, held } = request.body;
      const node = deviceOf(request);
      const names = [...new Set([queue, ...queues])];
      const tags = await gate.tagsOf(node.deviceId);
      for (const name of names) {
        const checked = allowed.checkQueue(name, group, tags);
        if (!checked.ok) return refused(reply, checked);
      }
      const before = waiting.get(node.deviceId) ?? 0;
      if (before >= WAITING_MAX) return refuse(reply, 'rate_limited', `${WAITING_MAX} requests of this node wait already.`);
      waiting.set(node.deviceId, before + 1);
      const lease = leaseOf(tokens, node, request);
      try {
        const messages = await redis.consume({
          nodeId: node.nodeId,
          queues: names,
          group,
          // A configuration belongs to the node, whichever of its processes asks: one that starts again finds what it had in hand.
          consumer: fabricConsumer(node.nodeId, queue === CONFIG_STREAM ? 'castellan:config' : consumer),
          count: clamp(count, 0, COUNT_MAX),
          blockMs: clamp(blockMs, 0, BLOCK_MS_MAX),
          ...(held === undefined ? {} : { held }),
          signal: lease.signal,
        });
        // Ended before its time: by the server's end, or because the token is no longer good.
        if (lease.signal.aborted && (await tokens.verify(node.token)) === undefined)
          return sendProblem(reply, 'unauthorized', 'The device token is revoked. Run "castellan init" on the node.');
        return reply.send({ messages: [...messages] });
      } finally {
        lease.end();
        const left = (waiting.get(node.deviceId) ?? 1) - 1;
        if (left > 0) waiting.set(node.deviceId, left);
        else waiting.delete(node.deviceId);
      }
    },
  });

  app.post('/api/fabric/redis/jobs/acknowledge', {
    ...shared,
    schema: {
      summary: 'Acknowledges an entry that the node has; false when nobody has it any more',
      tags: ['nodes without Redis'],
      body: schemas.acknowledgeBody,
      response: { 200: schemas.acknowledged, 403: problemDocument },
    },
    handler: async (request, reply) => {
      const { queue, group, messageId } = request.body;
      const node = deviceOf(request);
      const checked = allowed.checkQueue(queue, group, await gate.tagsOf(node.deviceId));
      if (!checked.ok) return refused(reply, checked);
      const result = await redis.acknowledge(node.nodeId, queue, group, messageId);
      if (result === 'held-by-another') return refuse(reply, 'not_for_this_node', 'Another node has this entry.', 'messageId');
      return reply.send({ acknowledged: result === 'acknowledged', success: true });
    },
  });

  keyRoutes(app, shared, redis, gate);
}

type Shared = { readonly config: { readonly access: 'device' }; readonly preHandler: NodeGate['limit'] };

function keyRoutes(app: App, shared: Shared, redis: FabricRedis, gate: NodeGate): void {
  const usable = async (request: FastifyRequest, key: string, use: 'read' | 'write'): Promise<allowed.Allowed<allowed.KeyUse>> => {
    const node = deviceOf(request);
    const read = allowed.readKey(node, key, use);
    if (!read.ok || read.value.jobId === undefined) return read;
    const held = await gate.held(node.nodeId, read.value.jobId);
    return held.ok ? read : held;
  };

  app.get('/api/fabric/redis/kv', {
    ...shared,
    schema: {
      summary: 'A key of the node’s own, or of a job that it has; value null and ttl -2 when there is none',
      tags: ['nodes without Redis'],
      querystring: schemas.keyQuery,
      response: { 200: schemas.keyValue, 403: problemDocument },
    },
    handler: async (request, reply) => {
      const { key } = request.query;
      const use = await usable(request, key, 'read');
      if (!use.ok) return refused(reply, use);
      const { value, ttl } = await redis.get(key);
      return reply.header('cache-control', 'no-store').send({ key, value, ttl, exists: value !== null });
    },
  });

  app.post('/api/fabric/redis/kv', {
    ...shared,
    schema: {
      summary: 'Sets such a key; it ends by itself',
      tags: ['nodes without Redis'],
      body: schemas.keyBody,
      response: { 200: schemas.keySet, 403: problemDocument },
    },
    handler: async (request, reply) => {
      const { key, value, ttl } = request.body;
      const use = await usable(request, key, 'write');
      if (!use.ok) return refused(reply, use);
      const text = allowed.readValue(value ?? null);
      if (!text.ok) return refused(reply, text);
      const { ttlS, ttlSMax } = use.value;
      await redis.set(key, text.value, ttl === undefined || ttl <= 0 ? ttlS : clamp(ttl, 1, ttlSMax));
      return reply.send({ success: true });
    },
  });

  app.delete('/api/fabric/redis/kv', {
    ...shared,
    schema: {
      summary: 'Deletes such a key, named in the query or in the body',
      tags: ['nodes without Redis'],
      querystring: schemas.keyQuery.partial(),
      body: schemas.deleteBody,
      response: { 200: schemas.keyDeleted, 403: problemDocument },
    },
    handler: async (request, reply) => {
      const key = request.query.key ?? request.body?.key;
      if (key === undefined) return refuse(reply, 'invalid_request', 'The field key is missing.', 'key');
      const use = await usable(request, key, 'write');
      if (!use.ok) return refused(reply, use);
      return reply.send({ deleted: await redis.delete(key) });
    },
  });
}

/** (2) */
function leaseOf(tokens: DeviceTokens, device: AdmittedDevice, request: FastifyRequest): { readonly signal: AbortSignal; end(): void } {
  const lease = tokens.lease(device, device.token);
  const gone = new AbortController();
  const onClose = (): void => gone.abort();
  request.raw.socket.once('close', onClose);
  return {
    signal: AbortSignal.any([lease.signal, gone.signal]),
    end() {
      request.raw.socket.off('close', onClose);
      lease.end();
    },
  };
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, Math.trunc(value)));
}
