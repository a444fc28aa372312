/** What nodes tell their fleet, and what it answers. The sender of each is a node; an operator may send `release`. */
import { z } from 'zod';
import { NODE_ID } from '../node/events.ts';

export const fleetEvents = {
  /** A node became a member, on time. */
  joined: z.looseObject({ type: z.literal('joined') }),
  /** A member on time became late. */
  late: z.looseObject({ type: z.literal('late') }),
  /** A late member is on time again. */
  back: z.looseObject({ type: z.literal('back') }),
  /** A late member was declared offline: it is no member until it joins again. */
  gone: z.looseObject({ type: z.literal('gone') }),
  /** A member on time moved to another fleet. */
  left: z.looseObject({ type: z.literal('left') }),
  /** A late member has reached its offline deadline and wants the verdict. */
  ask: z.looseObject({ type: z.literal('ask'), nodeId: z.string().regex(NODE_ID) }),
  /** An operator says: the silent nodes are really lost. */
  release: z.looseObject({ type: z.literal('release') }),
};

export type FleetEvent = { readonly type: 'joined' | 'late' | 'back' | 'gone' | 'left' | 'release' } | { readonly type: 'ask'; readonly nodeId: string };

/** Parameters of the effect `publishFleetIncident`. */
export type FleetIncident = {
  readonly orgId: string;
  readonly incident: 'opened' | 'resolved';
  readonly total: number;
  readonly late: number;
  readonly reason: string;
};
