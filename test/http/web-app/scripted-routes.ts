/** The routes that the pages ask, over the scripted port, as the HTTP reference describes them. */
import { callerOf } from '../../../src/http/access.ts';
import { send, sendProblem, type Problem } from '../../../src/http/problem.ts';
import type { InvalidConfigError } from '../../../src/protocol/errors.ts';
import { catalogueOf, servicesOffered } from '../../../src/provisioning/node-catalogue.ts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ScriptedDevices } from './scripted-devices.ts';

type Asked = { Params: { id: string }; Body: { name?: string } };

export function scriptedRoutes(app: FastifyInstance, devices: ScriptedDevices): void {
  const missing = (reply: FastifyReply) => sendProblem(reply, 'not_found', 'There is no such thing.');
  const by = (request: FastifyRequest) => ({ subject: callerOf(request).subject, orgId: 'acme' });
  const operator = { config: { access: 'operator' as const } };
  const viewer = { config: { access: 'viewer' as const } };

  app.get<Asked>('/api/v1/enrolments/:id', operator, async (request, reply) => (await devices.findByUserCode(request.params.id)) ?? missing(reply));
  app.post<Asked>('/api/v1/enrolments/:id/approve', operator, async (request, reply) => {
    const result = await devices.approve(request.params.id, by(request), request.body);
    return result.kind === 'approved' ? result.device : missing(reply);
  });
  app.post<Asked>('/api/v1/enrolments/:id/deny', operator, async (request, reply) => {
    const result = await devices.deny(request.params.id, by(request));
    return result.kind === 'denied' ? { denied: true } : missing(reply);
  });
  app.get<{ Querystring: { limit: string; cursor?: string } }>('/api/v1/devices', viewer, async ({ query }) =>
    devices.list({ limit: Number(query.limit), ...(query.cursor === undefined ? {} : { cursor: query.cursor }) }),
  );
  app.get<Asked>('/api/v1/devices/:id', viewer, async (request, reply) => (await devices.get(request.params.id)) ?? missing(reply));
  app.put<Asked>('/api/v1/devices/:id/config', operator, async (request, reply) => {
    try {
      const result = await devices.configure(request.params.id, request.body, by(request).subject);
      return result.kind === 'done' ? result.device : missing(reply);
    } catch (error) {
      const { code, message, field } = error as InvalidConfigError;
      const document = { type: 'about:blank', title: 'Refused', status: 422, code, detail: message, field } as Problem;
      return send(reply, document);
    }
  });
  app.get('/api/v1/catalogue', viewer, async () => ({ items: servicesOffered(catalogueOf()) }));
}
