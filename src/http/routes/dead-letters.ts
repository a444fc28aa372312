/**
 * What was refused, and another try. An entry that was refused may belong to anybody (that may be why it was refused),
 * so callers of one organisation do not see dead letters.
 */
import { z } from 'zod';
import { callerOf } from '../access.ts';
import { sendProblem } from '../problem.ts';
import { deadLetterParams, deadLetterView, pageOf, pageQuery, problemDocument } from '../schemas.ts';
import type { App, RouteContext } from './context.ts';

const FLEET_ONLY = 'Dead letters belong to the whole fleet; this token is for one organisation.';

export function deadLetterRoutes(app: App, { controlPlane }: RouteContext): void {
  app.get('/api/dead-letters', {
    config: { access: 'viewer' },
    schema: {
      summary: 'Refused entries with their reasons',
      tags: ['dead letters'],
      querystring: pageQuery,
      response: { 200: pageOf(deadLetterView), 403: problemDocument },
    },
    handler: async (request, reply) => {
      if (callerOf(request).org !== null) return sendProblem(reply, 'forbidden', FLEET_ONLY);
      const { cursor, limit } = request.query;
      return reply.send(await controlPlane.listDeadLetters({ limit, ...(cursor === undefined ? {} : { cursor }) }));
    },
  });

  app.post('/api/dead-letters/:id/replay', {
    config: { access: 'operator' },
    schema: {
      summary: 'Sends a refused event again',
      tags: ['dead letters'],
      params: deadLetterParams,
      response: { 202: z.object({ entry: z.string() }), 403: problemDocument, 404: problemDocument, 409: problemDocument },
    },
    handler: async (request, reply) => {
      if (callerOf(request).org !== null) return sendProblem(reply, 'forbidden', FLEET_ONLY);
      const { id } = request.params;
      const result = await controlPlane.replayDeadLetter(id);
      if (result.kind === 'missing')
        return sendProblem(reply, 'dead_letter_not_found', `There is no dead letter "${id}"; it may have been replayed or trimmed.`, 'id');
      if (result.kind === 'not-replayable')
        return sendProblem(
          reply,
          'not_replayable',
          'Its event was not kept, because it was not an event or was too large. Send a corrected one instead.',
          'id',
        );
      return reply.code(202).send({ entry: result.entry });
    },
  });
}
