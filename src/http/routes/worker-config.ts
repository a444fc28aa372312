/** `GET /api/fabric/worker-config` (contracts 7): what a node needs to know to take jobs. */
import { CONFIG_GROUP, CONFIG_STREAM } from '../../protocol/device-config.ts';
import { DEFAULT_QUEUE, WORKER_GROUP } from '../../protocol/job-progress.ts';
import { deviceOf } from '../access.ts';
import * as schemas from '../device-schemas.ts';
import { queuesOf } from '../fabric/allowed.ts';
import type { NodeGate } from '../fabric/node-gate.ts';
import type { App } from './context.ts';

export function workerConfigRoutes(app: App, gate: NodeGate): void {
  app.get('/api/fabric/worker-config', {
    config: { access: 'device' },
    preHandler: gate.limit,
    schema: { summary: 'The node’s queues, group and organisation', tags: ['nodes without Redis'], response: { 200: schemas.workerConfig } },
    handler: async (request) => {
      const { deviceId, nodeId, orgId } = deviceOf(request);
      return {
        queue: DEFAULT_QUEUE,
        queue_names: [...queuesOf(await gate.tagsOf(deviceId))],
        consumer_group: WORKER_GROUP,
        org_id: orgId,
        node_id: nodeId,
        config_queue: CONFIG_STREAM,
        config_group: CONFIG_GROUP,
      };
    },
  });
}
