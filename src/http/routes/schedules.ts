/** Schedules: jobs that are submitted again and again. They belong to callers of the whole fleet. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Jobs } from '../../protocol/job.ts';
import { callerOf } from '../access.ts';
import * as schemas from '../job-schemas.ts';
import { sendProblem } from '../problem.ts';
import { pageOf, pageQuery, problemDocument } from '../schemas.ts';
import type { App } from './context.ts';

export function scheduleRoutes(app: App, jobs: Jobs): void {
  app.get('/api/v1/schedules', {
    config: { access: 'viewer' },
    schema: {
      summary: 'Schedules with their next time and newest job',
      tags: ['schedules'],
      querystring: pageQuery,
      response: { 200: pageOf(schemas.scheduleView), 403: problemDocument },
    },
    handler: async (request, reply) => {
      if (!isOfFleet(request)) return fleetOnly(reply);
      const { cursor, limit } = request.query;
      return reply.send(await jobs.listSchedules({ limit, ...(cursor === undefined ? {} : { cursor }) }));
    },
  });

  app.put('/api/v1/schedules/:name', {
    config: { access: 'operator' },
    schema: {
      summary: 'Makes or changes a schedule: a cron pattern or an interval, and the job',
      tags: ['schedules'],
      params: schemas.scheduleParams,
      body: schemas.scheduleBody,
      response: { 200: schemas.scheduleView, 400: problemDocument, 403: problemDocument },
    },
    handler: async (request, reply) =>
      isOfFleet(request) ? reply.send(await jobs.putSchedule({ ...request.body, name: request.params.name })) : fleetOnly(reply),
  });

  app.delete('/api/v1/schedules/:name', {
    config: { access: 'operator' },
    schema: {
      summary: 'Removes a schedule; its jobs stay',
      tags: ['schedules'],
      params: schemas.scheduleParams,
      response: { 204: z.undefined(), 403: problemDocument, 404: problemDocument },
    },
    handler: async (request, reply) => {
      if (!isOfFleet(request)) return fleetOnly(reply);
      const { name } = request.params;
      if (await jobs.removeSchedule(name)) return reply.code(204).send();
      return sendProblem(reply, 'schedule_not_found', `There is no schedule "${name}".`, 'name');
    },
  });
}

function isOfFleet(request: FastifyRequest): boolean {
  return callerOf(request).org === null;
}

function fleetOnly(reply: FastifyReply): FastifyReply {
  return sendProblem(reply, 'forbidden', 'Schedules belong to the whole fleet; this token is for one organisation.');
}
