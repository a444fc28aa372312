/** `POST /api/fabric/nodes/{nodeId}/heartbeat` (contracts 1): a status as the body, as agents sent it before there was the stream. */
import type { Devices } from '../../protocol/device.ts';
import type { FabricRedis } from '../../protocol/fabric-redis.ts';
import { deviceOf } from '../access.ts';
import * as schemas from '../device-schemas.ts';
import { readStatusEntry, STATUS_STREAM, STATUS_STREAM_LENGTH } from '../fabric/allowed.ts';
import { refuse } from '../fabric/answers.ts';
import { refused, type NodeGate } from '../fabric/node-gate.ts';
import { problemDocument } from '../schemas.ts';
import type { App, RouteContext } from './context.ts';

export function heartbeatRoutes(
  app: App,
  { now }: Pick<RouteContext, 'now'>,
  { devices, redis, gate }: { readonly devices: Devices; readonly redis: FabricRedis; readonly gate: NodeGate },
): void {
  app.post('/api/fabric/nodes/:nodeId/heartbeat', {
    config: { access: 'device' },
    preHandler: gate.limit,
    schema: {
      summary: 'The node’s status',
      tags: ['nodes without Redis'],
      params: schemas.heartbeatParams,
      body: schemas.heartbeatBody,
      response: { 200: schemas.added, 403: problemDocument },
    },
    handler: async (request, reply) => {
      const node = deviceOf(request);
      // Whether there is a node of that name is not told.
      if (request.params.nodeId !== node.nodeId) return refuse(reply, 'not_for_this_node', 'A node sends its own status alone.', 'nodeId');
      const values = { nodeId: node.nodeId, payload: JSON.stringify(request.body) };
      const entry = readStatusEntry(node, values, (code) => devices.idOf(code), new Date(now()).toISOString());
      if (!entry.ok) return refused(reply, entry);
      return reply.send({ success: true, messageId: await redis.add(STATUS_STREAM, entry.value.fields, STATUS_STREAM_LENGTH) });
    },
  });
}
