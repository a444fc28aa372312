/**
 * The inspector's view of actors: what they are, why, what can happen next; and events for them.
 *
 * 1. An Idempotency-Key becomes the event's dedupe id. It is bound to the caller and the actor, so that two callers
 *    who choose the same key do not silence each other.
 * 2. A caller of one organisation reaches only existing actors of that organisation.
 */
import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { SendOptions, SendResult } from '../../protocol/control-plane.ts';
import { actorKey } from '../../protocol/ids.ts';
import { callerOf } from '../access.ts';
import { may } from '../auth/principal.ts';
import { sendProblem } from '../problem.ts';
import * as schemas from '../schemas.ts';
import { orgFilter, visibleActor, type App, type RouteContext } from './context.ts';
import { z } from 'zod';

const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

export function actorRoutes(app: App, context: RouteContext): void {
  const { controlPlane } = context;

  app.get('/api/actors', {
    config: { access: 'viewer' },
    schema: {
      summary: 'Actors by type, state, and time in the state',
      tags: ['actors'],
      querystring: schemas.actorQuery,
      response: { 200: schemas.pageOf(schemas.actorSummary) },
    },
    handler: async (request) => {
      const { cursor, limit, type, state, inStateLongerThan } = request.query;
      return await controlPlane.listActors({
        limit,
        ...orgFilter(request),
        ...(cursor === undefined ? {} : { cursor }),
        ...(type === undefined ? {} : { type }),
        ...(state === undefined ? {} : { state }),
        ...(inStateLongerThan === undefined ? {} : { inStateLongerThanMs: inStateLongerThan }),
      });
    },
  });

  app.get('/api/actors/:type/:id', {
    config: { access: 'viewer' },
    schema: {
      summary: 'One actor: state, context, timers, next events',
      tags: ['actors'],
      params: schemas.actorParams,
      response: { 200: schemas.actorView, 404: schemas.problemDocument },
    },
    handler: async (request, reply) => {
      const { type, id } = request.params;
      const actor = await visibleActor(context, request, type, id);
      return actor === undefined ? noActor(reply, type, id) : reply.send(actor);
    },
  });

  app.get('/api/actors/:type/:id/history', {
    config: { access: 'viewer' },
    schema: {
      summary: 'What happened to an actor, newest first',
      tags: ['actors'],
      params: schemas.actorParams,
      querystring: schemas.pageQuery,
      response: { 200: schemas.historyPage, 404: schemas.problemDocument },
    },
    handler: async (request, reply) => {
      const { type, id } = request.params;
      if ((await visibleActor(context, request, type, id)) === undefined) return noActor(reply, type, id);
      const { cursor, limit } = request.query;
      const history = await controlPlane.history(type, id, { limit, ...(cursor === undefined ? {} : { cursor }) });
      return history === undefined ? noActor(reply, type, id) : reply.send(history);
    },
  });

  app.get('/api/actors/:type/:id/at/:revision', {
    config: { access: 'viewer' },
    schema: {
      summary: 'The actor as it was after a revision',
      tags: ['actors'],
      params: schemas.revisionParams,
      response: { 200: schemas.pastActorView, 404: schemas.problemDocument, 410: schemas.problemDocument },
    },
    handler: async (request, reply) => {
      const { type, id, revision } = request.params;
      if ((await visibleActor(context, request, type, id)) === undefined) return noActor(reply, type, id);
      const past = await controlPlane.at(type, id, revision);
      if (past.kind === 'missing') return sendProblem(reply, 'revision_not_found', `${type}/${id} has no revision ${revision}.`, 'revision');
      if (past.kind === 'gone') return sendProblem(reply, 'revision_gone', 'The history before the oldest kept checkpoint was trimmed.', 'revision');
      return reply.send(past.actor);
    },
  });

  app.post('/api/actors/:type/:id/events', {
    // Telling what would happen is reading; the handler asks for more when the event is meant.
    config: { access: 'viewer' },
    schema: {
      summary: 'Sends an event; with dryRun=true only tells what it would do',
      tags: ['actors'],
      params: schemas.actorParams,
      querystring: schemas.sendQuery,
      headers: schemas.sendHeaders,
      body: schemas.eventBody,
      response: {
        200: z.union([schemas.dryRun, schemas.sent]),
        202: schemas.sent,
        400: schemas.problemDocument,
        404: schemas.problemDocument,
        422: schemas.problemDocument,
      },
    },
    handler: async (request, reply) => {
      const { type, id } = request.params;
      const caller = callerOf(request);
      if (!request.query.dryRun && !may(caller, 'operator'))
        return sendProblem(reply, 'forbidden', `This needs the role "operator"; the token has "${caller.role}".`);
      if (caller.org !== null && (await visibleActor(context, request, type, id)) === undefined) return noActor(reply, type, id);
      if (request.query.dryRun) return reply.code(200).send(await controlPlane.dryRun(type, id, request.body));
      return answerSent(reply, await controlPlane.send(type, id, request.body, sendOptions(request, request.query.wait)));
    },
  });
}

function sendOptions(request: FastifyRequest, waitMs: number | undefined): SendOptions {
  const { type, id } = request.params as { type: string; id: string };
  const key = request.headers['idempotency-key'];
  const traceparent = request.headers['traceparent'];
  return {
    ...(typeof key === 'string' ? { dedupeId: dedupeId(callerOf(request).subject, actorKey(type, id), key) } : {}),
    // A malformed trace context is dropped, as W3C Trace Context 3.2 asks, not an error of the sender.
    ...(typeof traceparent === 'string' && TRACEPARENT.test(traceparent) ? { traceparent } : {}),
    ...(waitMs === undefined ? {} : { waitMs }),
  };
}

/** Upholds (1). */
function dedupeId(subject: string, actor: string, key: string): string {
  return `http:${createHash('sha256')
    .update(JSON.stringify([subject, actor, key]))
    .digest('base64url')}`;
}

function answerSent(reply: FastifyReply, result: SendResult): FastifyReply {
  if (result.outcome === undefined) return reply.code(202).send(result);
  if (result.outcome.kind !== 'dead-letter') return reply.code(200).send(result);
  const { code, reason, field } = result.outcome;
  return reply
    .code(422)
    .type('application/problem+json; charset=utf-8')
    .send({
      type: `urn:castellan:problem:${code}`,
      title: 'The event was rejected',
      status: 422,
      code,
      detail: reason,
      ...(field === undefined ? {} : { field }),
      entry: result.entry,
    });
}

function noActor(reply: FastifyReply, type: string, id: string): FastifyReply {
  return sendProblem(reply, 'actor_not_found', `There is no actor "${type}/${id}". It is created by its first event.`, 'id');
}
