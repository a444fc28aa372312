/** The fleet's nodes: listed, one, and asked live. */
import type { LiveTarget } from '../../protocol/control-plane.ts';
import { callerOf } from '../access.ts';
import { sees } from '../auth/principal.ts';
import type { LiveAnswer } from '../live/live-status.ts';
import { sendProblem, type ProblemCode } from '../problem.ts';
import { nodeParams, nodeQuery, nodeView, pageOf, problemDocument } from '../schemas.ts';
import { orgFilter, type App, type RouteContext } from './context.ts';
import { z } from 'zod';

const PROBLEM_OF = { refused: 'live_refused', invalid: 'live_invalid', timeout: 'live_timeout' } as const satisfies {
  readonly [kind in Exclude<LiveAnswer['kind'], 'answered'>]: ProblemCode;
};

export function nodeRoutes(app: App, context: RouteContext): void {
  const { controlPlane, live } = context;

  app.get('/api/fabric/nodes', {
    config: { access: 'viewer' },
    schema: { summary: 'Nodes with their state and newest status', tags: ['nodes'], querystring: nodeQuery, response: { 200: pageOf(nodeView) } },
    handler: async (request) => {
      const { cursor, limit, state } = request.query;
      return await controlPlane.listNodes({
        limit,
        ...orgFilter(request),
        ...(cursor === undefined ? {} : { cursor }),
        ...(state === undefined ? {} : { state }),
      });
    },
  });

  app.get('/api/fabric/nodes/:id', {
    config: { access: 'viewer' },
    schema: { summary: 'One node, as it last reported', tags: ['nodes'], params: nodeParams, response: { 200: nodeView, 404: problemDocument } },
    handler: async (request, reply) => {
      const node = await controlPlane.getNode(request.params.id);
      if (node === undefined || !sees(callerOf(request), node.orgId)) return sendProblem(reply, 'node_not_found', noNode(request.params.id), 'id');
      return reply.send(node);
    },
  });

  app.get('/api/fabric/nodes/:id/live', {
    config: { access: 'viewer' },
    schema: {
      summary: 'Asks the node’s agent for its status now (at most 2 s)',
      tags: ['nodes'],
      params: nodeParams,
      response: { 200: z.looseObject({ node: z.any(), system: z.any() }), 404: problemDocument, 502: problemDocument, 504: problemDocument },
    },
    handler: async (request, reply) => {
      const target: LiveTarget | undefined = await controlPlane.liveTarget(request.params.id);
      if (target === undefined || !sees(callerOf(request), target.orgId)) return sendProblem(reply, 'node_not_found', noNode(request.params.id), 'id');
      const answer = await live.ask(target);
      if (answer.kind !== 'answered') return sendProblem(reply, PROBLEM_OF[answer.kind], answer.why);
      return reply.header('cache-control', 'no-store').send(answer.status as { node: unknown; system: unknown });
    },
  });
}

function noNode(id: string): string {
  return `There is no node "${id}". A node appears with its first status.`;
}
