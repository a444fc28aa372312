/** Answers of the routes for nodes: problem documents that also carry `error` and `error_description`, which agents of others read. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { FabricLimitAnswer } from '../../protocol/fabric-redis.ts';
import { problem, send, type ProblemCode } from '../problem.ts';
import type { Limited } from '../rate-limits.ts';

export function refuse(reply: FastifyReply, code: ProblemCode, detail: string, field?: string): FastifyReply {
  return send(reply, { ...problem(code, field === undefined ? { detail } : { detail, field }), error: code, error_description: detail });
}

/** 429 with what contracts 7 asks for: `{error, limit, window, retry_after, reset_at}`. */
export function limited(reply: FastifyReply, { limit, windowS, retryAfterS, resetAt }: Limited): FastifyReply {
  const detail = `At most ${limit} of these requests in ${windowS} s are answered; go on in ${retryAfterS} s.`;
  const answer: FabricLimitAnswer = {
    error: 'rate_limited',
    limit,
    window: windowS,
    retry_after: retryAfterS,
    reset_at: new Date(resetAt).toISOString(),
  };
  return send(reply.header('retry-after', String(retryAfterS)), { ...problem('rate_limited', { detail }), error_description: detail, ...answer });
}

/** Where a request comes from, as far as it can be limited by it: an IPv6 network is one household, not 2^64 of them. */
export function addressOf({ ip }: Pick<FastifyRequest, 'ip'>): string {
  return ip.includes(':') && !ip.startsWith('::ffff:') ? ip.split(':').slice(0, 4).join(':') : ip;
}
