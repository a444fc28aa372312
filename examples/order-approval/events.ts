/** What an order and a stock are told, from outside and by each other. */
import { z } from 'zod';

const SKU = z.string().regex(/^[a-z0-9-]{1,40}$/);
const QUANTITY = z.int().min(1).max(1_000);

export const orderEvents = {
  /** A customer orders. Creates the order. */
  submit: z.object({ type: z.literal('submit'), customer: z.email(), sku: SKU, quantity: QUANTITY, totalCents: z.int().min(1) }),
  /** A clerk, or after the escalation the manager, decides. */
  approve: z.object({ type: z.literal('approve'), by: z.string().min(1) }),
  reject: z.object({ type: z.literal('reject'), by: z.string().min(1), reason: z.string().min(1) }),
  /** The stock answers. */
  reserved: z.object({ type: z.literal('reserved'), left: z.int() }),
  soldOut: z.object({ type: z.literal('soldOut'), left: z.int() }),
};

export const stockEvents = {
  deliver: z.object({ type: z.literal('deliver'), quantity: QUANTITY }),
  /** An order wants some, and an answer. */
  reserve: z.object({ type: z.literal('reserve'), order: z.string(), quantity: QUANTITY }),
};

export type OrderEvent = z.infer<(typeof orderEvents)[keyof typeof orderEvents]>;
export type StockEvent = z.infer<(typeof stockEvents)[keyof typeof stockEvents]>;
