/** Bounds on what a JSON body may hold, besides its bytes. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { sendProblem } from './problem.ts';

/** The largest event that an inbox entry should carry. */
export const BODY_BYTES_MAX = 1_048_576;
/** Deeper than any event of a person or a program; recursion over it stays far from the stack's end. */
const DEPTH_MAX = 32;
/** Arrays' elements and objects' fields together. */
const VALUES_MAX = 20_000;

/** A preValidation hook. */
export async function limitBody(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> {
  if (typeof request.body !== 'object' || request.body === null || withinLimits(request.body)) return undefined;
  return sendProblem(reply, 'body_too_deep', `A body may be nested ${DEPTH_MAX} deep and hold ${VALUES_MAX} values.`, 'body');
}

/** Walks level by level, so that a deep value cannot exhaust the stack. */
export function withinLimits(value: object): boolean {
  let level: object[] = [value];
  let values = 0;
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > DEPTH_MAX) return false;
    const next: object[] = [];
    for (const parent of level) {
      for (const child of Object.values(parent) as unknown[]) {
        if (++values > VALUES_MAX) return false;
        if (typeof child === 'object' && child !== null) next.push(child);
      }
    }
    level = next;
  }
  return true;
}
