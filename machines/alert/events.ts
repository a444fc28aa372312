/** What an alert is told, by the device whose condition it watches. */
import { z } from 'zod';
import { NODE_ID } from '../node/events.ts';

const id = z.string().regex(NODE_ID);

export const alertEvents = {
  condition: z.strictObject({
    type: z.literal('condition'),
    on: z.boolean(),
    nodeId: id,
    orgId: id,
    kind: z.enum(['offline', 'high-temperature', 'degraded']),
    reason: z.string().max(1_024),
    holdMs: z.number().int().min(0).max(86_400_000),
  }),
};
