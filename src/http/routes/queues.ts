/** Worker queues: how full they are; paused, resumed, limited. They serve every organisation, so they belong to callers of the whole fleet. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Jobs } from '../../protocol/job.ts';
import { callerOf } from '../access.ts';
import * as schemas from '../job-schemas.ts';
import { sendProblem } from '../problem.ts';
import { pageOf, pageQuery, problemDocument } from '../schemas.ts';
import type { App } from './context.ts';
import { pageThrough } from './whole-list.ts';

export function queueRoutes(app: App, jobs: Jobs): void {
  app.get('/api/v1/queues', {
    config: { access: 'viewer' },
    schema: {
      summary: 'Queues: what waits, what is held back, what is taken, and their limits',
      tags: ['queues'],
      querystring: pageQuery,
      response: { 200: pageOf(schemas.queueView), 403: problemDocument },
    },
    handler: async (request, reply) => (isOfFleet(request) ? reply.send(pageThrough(await jobs.listQueues(), request.query)) : fleetOnly(reply)),
  });

  app.post('/api/v1/queues/:queue/pause', {
    config: { access: 'operator' },
    schema: {
      summary: 'Hands out no more jobs of this queue; those at work go on',
      tags: ['queues'],
      params: schemas.queueParams,
      response: { 200: schemas.queueView, 403: problemDocument },
    },
    handler: async (request, reply) => (isOfFleet(request) ? reply.send(await jobs.pause(request.params.queue)) : fleetOnly(reply)),
  });

  app.post('/api/v1/queues/:queue/resume', {
    config: { access: 'operator' },
    schema: {
      summary: 'Hands out the jobs of this queue again',
      tags: ['queues'],
      params: schemas.queueParams,
      response: { 200: schemas.queueView, 403: problemDocument },
    },
    handler: async (request, reply) => (isOfFleet(request) ? reply.send(await jobs.resume(request.params.queue)) : fleetOnly(reply)),
  });

  app.put('/api/v1/queues/:queue/limits', {
    config: { access: 'operator' },
    schema: {
      summary: 'Sets how many jobs are with workers at once and how many are handed out in a time; an absent bound is none',
      tags: ['queues'],
      params: schemas.queueParams,
      body: schemas.queueLimits,
      response: { 200: schemas.queueView, 403: problemDocument },
    },
    handler: async (request, reply) => (isOfFleet(request) ? reply.send(await jobs.setLimits(request.params.queue, request.body)) : fleetOnly(reply)),
  });
}

function isOfFleet(request: FastifyRequest): boolean {
  return callerOf(request).org === null;
}

function fleetOnly(reply: FastifyReply): FastifyReply {
  return sendProblem(reply, 'forbidden', 'Queues belong to the whole fleet; this token is for one organisation.');
}
