/** The shards: who owns each, how far it is, what waits in it. Of the whole fleet, so not for callers of one organisation. */
import { callerOf } from '../access.ts';
import { sendProblem } from '../problem.ts';
import { pageOf, pageQuery, partitionView, problemDocument } from '../schemas.ts';
import type { App, RouteContext } from './context.ts';
import { pageThrough } from './whole-list.ts';

export function partitionRoutes(app: App, { controlPlane }: RouteContext): void {
  app.get('/api/partitions', {
    config: { access: 'viewer' },
    schema: {
      summary: 'Owner, epoch, position, lag, timers and outbox of each partition',
      tags: ['partitions'],
      querystring: pageQuery,
      response: { 200: pageOf(partitionView), 403: problemDocument },
    },
    handler: async (request, reply) => {
      if (callerOf(request).org !== null) return sendProblem(reply, 'forbidden', 'Partitions belong to the whole fleet; this token is for one organisation.');
      return reply.send(pageThrough(await controlPlane.listPartitions(), request.query));
    },
  });
}
