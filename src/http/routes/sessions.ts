/** A browser's session: opened with a one-time link, asked for, closed; and new links from an administrator. */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { callerOf, originAllowed } from '../access.ts';
import type { Principal } from '../auth/principal.ts';
import { SESSION_COOKIE, SESSION_LIFETIME_MS } from '../auth/sessions.ts';
import { sendProblem } from '../problem.ts';
import { caller, problemDocument, sessionBody } from '../schemas.ts';
import type { App, RouteContext } from './context.ts';

/** Tries of one address a minute: a link's secret cannot be guessed anyway, but nobody should try. */
const EXCHANGES_PER_MINUTE = 30;

export function sessionRoutes(app: App, { sessions, access }: RouteContext): void {
  app.post('/api/session', {
    config: { access: 'public', rateLimit: { max: EXCHANGES_PER_MINUTE, timeWindow: 60_000 } },
    schema: {
      summary: 'Exchanges a one-time link’s secret for a session cookie',
      tags: ['sessions'],
      body: sessionBody,
      response: { 200: caller, 401: problemDocument, 403: problemDocument },
    },
    handler: async (request, reply) => {
      // A foreign page must not be able to log a browser in as somebody else.
      if (request.headers.origin !== undefined && !originAllowed(request, access.allowedOrigins))
        return sendProblem(reply, 'foreign_origin', 'Open the link on this server’s own address.');
      const session = await sessions.exchange(request.body.secret);
      if (session === undefined)
        return sendProblem(reply, 'unauthorized', 'This link was used or has expired. `castellan token --link` makes a new one.', 'secret');
      return reply
        .setCookie(SESSION_COOKIE, session.cookie, { ...cookieOptions(request), maxAge: Math.floor(SESSION_LIFETIME_MS / 1000) })
        .header('cache-control', 'no-store')
        .send(shown(session.principal));
    },
  });

  app.get('/api/session', {
    config: { access: 'viewer' },
    schema: { summary: 'Who the caller is', tags: ['sessions'], response: { 200: caller } },
    handler: async (request, reply) => reply.header('cache-control', 'no-store').send(shown(callerOf(request))),
  });

  app.delete('/api/session', {
    config: { access: 'viewer' },
    schema: { summary: 'Ends the session in this browser', tags: ['sessions'], response: { 204: z.null() } },
    handler: async (request, reply) => reply.clearCookie(SESSION_COOKIE, cookieOptions(request)).code(204).send(null),
  });

  app.post('/api/links', {
    config: { access: 'admin' },
    schema: {
      summary: 'Makes a one-time link for a browser, with the caller’s own rights',
      tags: ['sessions'],
      response: { 201: z.object({ secret: z.string() }) },
    },
    handler: async (request, reply) => {
      const { subject, role, org } = callerOf(request);
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ secret: sessions.createLink({ subject, role, org }) });
    },
  });
}

function cookieOptions(request: FastifyRequest) {
  return { path: '/', httpOnly: true, sameSite: 'strict', secure: request.protocol === 'https' } as const;
}

function shown({ subject, role, org, expiresAt }: Principal) {
  return { subject, role, org, expiresAt: new Date(expiresAt).toISOString() };
}
