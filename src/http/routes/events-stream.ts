/** The realtime stream of committed transitions. */
import { callerOf } from '../access.ts';
import { sendProblem } from '../problem.ts';
import { problemDocument, streamHeaders, streamQuery } from '../schemas.ts';
import type { App, RouteContext } from './context.ts';

export function eventStreamRoutes(app: App, { streams }: RouteContext): void {
  app.get('/events/stream', {
    config: { access: 'viewer' },
    schema: {
      summary: 'Server-sent events: one `transition` for each committed transition, with its cursor as the id',
      description: 'Starts at now. Last-Event-ID, or cursor (also spelled last_id), goes on after that cursor; 410 when it is not held any more.',
      tags: ['realtime'],
      querystring: streamQuery,
      headers: streamHeaders,
      response: { 410: problemDocument, 503: problemDocument },
    },
    handler: async (request, reply) => {
      const { cursor, last_id, types } = request.query;
      const query = { cursor: request.headers['last-event-id'] ?? cursor ?? last_id ?? 'new', ...(types === undefined ? {} : { types: types.split(',') }) };
      const opened = await streams.open(request, reply, callerOf(request), query);
      return opened ? reply : sendProblem(reply.header('retry-after', '5'), 'too_many_streams', 'Too many streams are open; come back in some seconds.');
    },
  });
}
