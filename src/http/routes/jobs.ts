/**
 * Jobs: submitted, listed, one, its log; cancelled and retried.
 *
 * 1. An Idempotency-Key becomes the job's id, bound to the caller: the same key is the same job for as long as that job is kept.
 *    A request that names its own id or dedupe key keeps that.
 * 2. A caller of one organisation submits jobs of that organisation, and sees and changes no others.
 */
import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { JobCommandResult, JobRequest, Jobs, JobView } from '../../protocol/job.ts';
import { callerOf } from '../access.ts';
import { sees } from '../auth/principal.ts';
import { sendProblem } from '../problem.ts';
import * as schemas from '../job-schemas.ts';
import { pageOf, pageQuery, problemDocument } from '../schemas.ts';
import { orgFilter, type App } from './context.ts';

const KEYED_ID_LENGTH = 24;

export function jobRoutes(app: App, jobs: Jobs): void {
  const visible = async (request: FastifyRequest, jobId: string): Promise<JobView | undefined> => {
    const job = await jobs.get(jobId);
    return job !== undefined && sees(callerOf(request), job.orgId) ? job : undefined;
  };

  app.post('/api/v1/jobs', {
    config: { access: 'operator' },
    schema: {
      summary: 'Submits a job; 200 when it existed already',
      tags: ['jobs'],
      headers: schemas.jobHeaders,
      body: schemas.jobRequest,
      response: { 200: schemas.submitted, 201: schemas.submitted, 400: problemDocument },
    },
    handler: async (request, reply) => {
      const submitted = await jobs.submit(keyed(request.body, request, 0), callerOf(request).org ?? undefined);
      return reply.code(submitted.existing ? 200 : 201).send(submitted);
    },
  });

  app.post('/api/v1/jobs/bulk', {
    config: { access: 'operator' },
    schema: {
      summary: `Submits up to ${schemas.BULK_MAX} jobs; one bad job refuses all`,
      tags: ['jobs'],
      headers: schemas.jobHeaders,
      body: schemas.bulkRequest,
      response: { 200: schemas.submittedAll, 201: schemas.submittedAll, 400: problemDocument },
    },
    handler: async (request, reply) => {
      const requests = request.body.jobs.map((job, index) => keyed(job, request, index));
      const submitted = await jobs.submitAll(requests, callerOf(request).org ?? undefined);
      return reply.code(submitted.every(({ existing }) => existing) ? 200 : 201).send({ jobs: [...submitted] });
    },
  });

  app.get('/api/v1/jobs', {
    config: { access: 'viewer' },
    schema: {
      summary: 'Jobs by state, type, queue, node, and time in the state',
      tags: ['jobs'],
      querystring: schemas.jobQuery,
      response: { 200: pageOf(schemas.jobView) },
    },
    handler: async (request) => {
      const { cursor, limit, state, type, queue, node, olderThan } = request.query;
      return await jobs.list({
        limit,
        ...orgFilter(request),
        ...(cursor === undefined ? {} : { cursor }),
        ...(state === undefined ? {} : { state }),
        ...(type === undefined ? {} : { type }),
        ...(queue === undefined ? {} : { queue }),
        ...(node === undefined ? {} : { nodeId: node }),
        ...(olderThan === undefined ? {} : { olderThanMs: olderThan }),
      });
    },
  });

  app.get('/api/v1/jobs/:jobId', {
    config: { access: 'viewer' },
    schema: {
      summary: 'One job; with wait, at its end or after so many ms',
      tags: ['jobs'],
      params: schemas.jobParams,
      querystring: schemas.jobGetQuery,
      response: { 200: schemas.jobView, 404: problemDocument },
    },
    handler: async (request, reply) => {
      const { jobId } = request.params;
      const { wait } = request.query;
      const job = await visible(request, jobId);
      if (job === undefined) return noJob(reply, jobId);
      const ended = wait === undefined ? job : await jobs.waitForEnd(jobId, wait);
      return ended === undefined ? noJob(reply, jobId) : reply.send(ended);
    },
  });

  app.post('/api/v1/jobs/:jobId/cancel', {
    config: { access: 'operator' },
    schema: {
      summary: 'Ends a job; a worker that has it is told',
      tags: ['jobs'],
      params: schemas.jobParams,
      body: schemas.cancelBody,
      response: { 200: schemas.jobView, 404: problemDocument, 409: problemDocument },
    },
    handler: async (request, reply) => {
      const { jobId } = request.params;
      if ((await visible(request, jobId)) === undefined) return noJob(reply, jobId);
      return answer(reply, jobId, await jobs.cancel(jobId, request.body?.reason));
    },
  });

  app.post('/api/v1/jobs/:jobId/retry', {
    config: { access: 'operator' },
    schema: {
      summary: 'Hands a job in error or cancelled out again, with all its tries',
      tags: ['jobs'],
      params: schemas.jobParams,
      response: { 200: schemas.jobView, 404: problemDocument, 409: problemDocument },
    },
    handler: async (request, reply) => {
      const { jobId } = request.params;
      if ((await visible(request, jobId)) === undefined) return noJob(reply, jobId);
      return answer(reply, jobId, await jobs.retry(jobId));
    },
  });

  app.get('/api/v1/jobs/:jobId/log', {
    config: { access: 'viewer' },
    schema: {
      summary: 'What the job’s workers wrote, oldest first',
      tags: ['jobs'],
      params: schemas.jobParams,
      querystring: pageQuery,
      response: { 200: pageOf(schemas.jobLogLine), 404: problemDocument },
    },
    handler: async (request, reply) => {
      const { jobId } = request.params;
      const { cursor, limit } = request.query;
      if ((await visible(request, jobId)) === undefined) return noJob(reply, jobId);
      return reply.send(await jobs.log(jobId, { limit, ...(cursor === undefined ? {} : { cursor }) }));
    },
  });
}

/** Upholds (1). */
function keyed(job: JobRequest, request: FastifyRequest, index: number): JobRequest {
  const key = request.headers['idempotency-key'];
  if (typeof key !== 'string' || job.jobId !== undefined || job.dedupeKey !== undefined) return job;
  const { subject, org } = callerOf(request);
  const digest = createHash('sha256')
    .update(JSON.stringify([subject, org, key, index]))
    .digest('base64url');
  return { ...job, jobId: `i${digest.slice(0, KEYED_ID_LENGTH)}` };
}

function answer(reply: FastifyReply, jobId: string, result: JobCommandResult): FastifyReply {
  switch (result.kind) {
    case 'missing':
      return noJob(reply, jobId);
    case 'refused':
      return sendProblem(reply, 'job_refused', result.reason, 'jobId');
    case 'done':
      return reply.send(result.job);
  }
}

function noJob(reply: FastifyReply, jobId: string): FastifyReply {
  return sendProblem(reply, 'job_not_found', `There is no job "${jobId}"; it may have been removed after its time.`, 'jobId');
}
