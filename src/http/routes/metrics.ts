/**
 * Prometheus metrics: open to a scraper on this machine, else for viewers.
 * A request that a proxy on this machine forwarded, or that names another host (a web page that rebound its name), is not local.
 */
import type { FastifyRequest } from 'fastify';
import { identify } from '../access.ts';
import { may } from '../auth/principal.ts';
import { isLoopback } from '../live/allowed-network.ts';
import { sendProblem } from '../problem.ts';
import type { App, RouteContext } from './context.ts';

const PROMETHEUS_TEXT = 'text/plain; version=0.0.4; charset=utf-8';

export function metricsRoutes(app: App, { controlPlane, access }: RouteContext): void {
  app.get('/metrics', {
    config: { access: 'public' },
    schema: { summary: 'Metrics in Prometheus’ text format', tags: ['operation'] },
    handler: async (request, reply) => {
      if (!isLocal(request)) {
        const caller = await identify(request, access);
        if (caller === null)
          return sendProblem(
            reply.header('www-authenticate', 'Bearer realm="castellan"'),
            'unauthorized',
            'Metrics are open on loopback only; elsewhere send a viewer’s token.',
          );
        if (!may(caller, 'viewer') || caller.org !== null) return sendProblem(reply, 'forbidden', 'Metrics need the role "viewer" for the whole fleet.');
      }
      return reply.type(PROMETHEUS_TEXT).send(await controlPlane.metrics());
    },
  });
}

function isLocal(request: FastifyRequest): boolean {
  const name = request.hostname;
  return (
    isLoopback(request.socket.remoteAddress ?? '') &&
    (name === 'localhost' || isLoopback(name.replace(/^\[|\]$/g, ''))) &&
    request.headers['x-forwarded-for'] === undefined &&
    request.headers['forwarded'] === undefined
  );
}
