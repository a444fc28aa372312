/** What every file of routes is given. */
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest, RawReplyDefaultExpression, RawRequestDefaultExpression, RawServerDefault } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { ActorView, ControlPlane } from '../../protocol/control-plane.ts';
import type { AccessOptions } from '../access.ts';
import { callerOf } from '../access.ts';
import { sees } from '../auth/principal.ts';
import type { Sessions } from '../auth/sessions.ts';
import type { WallClock } from '../auth/tokens.ts';
import type { EventStreams } from '../event-stream.ts';
import type { LiveStatus } from '../live/live-status.ts';

export type App = FastifyInstance<RawServerDefault, RawRequestDefaultExpression, RawReplyDefaultExpression, FastifyBaseLogger, ZodTypeProvider>;

export interface RouteContext {
  readonly controlPlane: ControlPlane;
  readonly sessions: Sessions;
  readonly access: AccessOptions;
  readonly live: LiveStatus;
  readonly streams: EventStreams;
  readonly now: WallClock;
}

/** The organisation to which the port's lists are narrowed. */
export function orgFilter(request: FastifyRequest): { readonly orgId?: string } {
  const { org } = callerOf(request);
  return org === null ? {} : { orgId: org };
}

/** An actor as far as the caller may know of it: another organisation's actor is as if it did not exist. */
export async function visibleActor(context: RouteContext, request: FastifyRequest, type: string, id: string): Promise<ActorView | undefined> {
  const actor = await context.controlPlane.getActor(type, id);
  return actor !== undefined && sees(callerOf(request), actor.orgId) ? actor : undefined;
}
