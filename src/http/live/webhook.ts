/**
 * Posts to an address that a person set, and to public hosts alone. (proof 4)
 *
 * 1. What counts is the address at the other end of the connected socket, whatever a name resolved to: private, loopback, link-local,
 *    shared, documentation, multicast and reserved ranges are refused before a byte is written.
 * 2. Redirects are not followed, the answer's body is not read, and the whole takes at most {@link WEBHOOK_TIMEOUT_MS}.
 */
import { request } from 'undici';
import { allowedNetwork, type AddressCheck } from './allowed-network.ts';
import { AddressRefused, guardedDispatcher } from './live-status.ts';

export const WEBHOOK_TIMEOUT_MS = 2_000;

/** IANA's special-purpose registries (RFC 6890): nothing in them is a public host. */
const NOT_PUBLIC = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24', '192.0.2.0/24'],
  ...['192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'],
  // Teredo, documentation and 6to4: each may stand for an IPv4 address of ours.
  ...['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'],
];
/** All of IPv4, and what of IPv6 is given to hosts. */
const GIVEN_OUT = ['0.0.0.0/0', '2000::/3'];

export interface WebhookAnswerer {
  post(
    webhook: { readonly url: string; readonly body: string; readonly headers: { readonly [name: string]: string } },
    signal: AbortSignal,
  ): Promise<
    | { readonly kind: 'answered'; readonly status: number }
    | { readonly kind: 'refused'; readonly why: string }
    | { readonly kind: 'failed'; readonly why: string }
  >;
  close(): Promise<void>;
}

/** A host that anybody on the internet could reach. */
export function publicAddress(): AddressCheck {
  const given = allowedNetwork(GIVEN_OUT);
  const special = allowedNetwork(NOT_PUBLIC);
  return (address) => given(address) && !special(address);
}

/** `allowed`: other than public addresses, for who runs a receiver of their own. */
export function webhookPoster({
  allowed = publicAddress(),
  timeoutMs = WEBHOOK_TIMEOUT_MS,
}: { allowed?: AddressCheck; timeoutMs?: number } = {}): WebhookAnswerer {
  const dispatcher = guardedDispatcher(allowed, timeoutMs);
  return {
    async post({ url, body, headers }, signal) {
      const late = AbortSignal.timeout(timeoutMs);
      try {
        const response = await request(url, { dispatcher, signal: AbortSignal.any([signal, late]), method: 'POST', body, headers });
        // A body that is cut short reports it as an event too, which without a listener would end the process.
        response.body.on('error', () => undefined);
        response.body.destroy();
        return { kind: 'answered', status: response.statusCode };
      } catch (error) {
        if (error instanceof AddressRefused) return { kind: 'refused', why: 'it is not at a public address' };
        return { kind: 'failed', why: late.aborted ? `no answer within ${timeoutMs} ms` : (error as Error).message };
      }
    },
    async close() {
      await dispatcher.destroy();
    },
  };
}
