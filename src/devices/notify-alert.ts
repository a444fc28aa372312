/**
 * Posts an alert's notice to a webhook: the executor of the effect `notifyAlert`.
 *
 * 1. Anything but a 2xx fails the effect: the engine tries it again, later and later, under the same key.
 * 2. What is signed is `<timestamp>.<body>`, so that a notice that was caught on its way cannot be sent again later. The key stays the same
 *    at every try: who has seen it drops the repeat.
 */
import { createHmac } from 'node:crypto';
import type { Delivery, Executor } from '../protocol/command.ts';

export interface WebhookRequest {
  readonly url: string;
  readonly body: string;
  readonly headers: { readonly [name: string]: string };
}

/** `refused`: an address that may not be reached. */
export type WebhookAnswer =
  | { readonly kind: 'answered'; readonly status: number }
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'failed'; readonly why: string };

export interface WebhookPorts {
  readonly url: string;
  readonly secret: string;
  /** The body: see src/contracts/device-config.ts. */
  readonly encode: (delivery: Delivery) => string;
  /** Reaches public addresses alone, follows no redirect, and ends within seconds. */
  readonly post: (request: WebhookRequest, signal: AbortSignal) => Promise<WebhookAnswer>;
  /** Wall clock, ms since the epoch. */
  readonly now: () => number;
}

/** `ports` undefined: no webhook is set, and there is nothing to post. */
export function notifyAlertExecutor(ports: WebhookPorts | undefined): Executor {
  return async (delivery, signal) => {
    if (ports === undefined) return;
    const { url, secret, encode, post, now } = ports;
    const body = encode(delivery);
    const timestamp = String(Math.floor(now() / 1_000));
    const signature = createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex'); // (2)
    const headers = {
      'content-type': 'application/json',
      'idempotency-key': delivery.key,
      'x-castellan-timestamp': timestamp,
      'x-castellan-signature': `sha256=${signature}`,
    };
    const answer = await post({ url, body, headers }, signal);
    if (answer.kind !== 'answered') throw new Error(`The webhook was not reached: ${answer.why}`);
    if (answer.status < 200 || answer.status > 299) throw new Error(`The webhook answered with HTTP status ${answer.status}.`); // (1)
  };
}
