/**
 * Rebalance jobs (contracts 4), under their old names as well.
 *
 * Any known caller may create some, and sees their own alone: another one's job is as if it did not exist.
 */
import { z } from 'zod';
import type { JsonObject } from '../../protocol/json.ts';
import { REBALANCE_STATUSES, type RebalanceJobs, type RebalanceView } from '../../protocol/rebalance.ts';
import { callerOf } from '../access.ts';
import { userIdOf } from '../auth/principal.ts';
import { sendProblem } from '../problem.ts';
import { problemDocument, sendHeaders } from '../schemas.ts';
import type { App } from './context.ts';

const body = z.looseObject({ type: z.string().optional(), priority: z.any().optional() }) as unknown as z.ZodType<JsonObject>;
const params = z.object({ jobId: z.string().regex(/^[A-Za-z0-9._:@-]{1,128}$/) });
const created = z.object({ jobId: z.string() });
const view: z.ZodType<RebalanceView> = z.object({
  jobId: z.string(),
  status: z.enum(REBALANCE_STATUSES),
  error: z.string().optional(),
  type: z.string(),
  payload: z.any(),
  result: z.any().optional(),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
}) as unknown as z.ZodType<RebalanceView>;

export function rebalanceRoutes(app: App, jobs: RebalanceJobs): void {
  for (const url of ['/api/v1/agent/rebalance', '/agent/rebalance']) {
    app.post(url, {
      config: { access: 'user' },
      schema: {
        summary: 'Creates a rebalance job of the caller; its agent is told at once',
        tags: ['rebalance'],
        headers: sendHeaders,
        body,
        response: { 201: created, 400: problemDocument },
      },
      handler: async (request, reply) => {
        const caller = callerOf(request);
        const key = request.headers['idempotency-key'];
        const { jobId } = await jobs.create({
          userId: userIdOf(caller),
          orgId: caller.org,
          body: request.body,
          ...(key === undefined ? {} : { idempotencyKey: key }),
        });
        return reply.code(201).send({ jobId });
      },
    });
  }
  for (const url of ['/api/v1/rebalance/:jobId', '/api/v1/agent/rebalance/:jobId']) {
    app.get(url, {
      config: { access: 'user' },
      schema: { summary: 'One of the caller’s rebalance jobs', tags: ['rebalance'], params, response: { 200: view, 404: problemDocument } },
      handler: async (request, reply) => {
        const { jobId } = request.params;
        const job = await jobs.get(jobId, userIdOf(callerOf(request)));
        if (job === undefined) return sendProblem(reply, 'job_not_found', `You have no rebalance job "${jobId}".`, 'jobId');
        return reply.header('cache-control', 'no-store').send(job);
      },
    });
  }
}
