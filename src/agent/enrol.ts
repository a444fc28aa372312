/**
 * Enrolment as RFC 8628 has it for the device: ask for codes, then poll until a person has decided.
 *
 *   start ──codes──▶ polling ──200──▶ granted
 *                    │  ▲  authorization_pending: after the interval · slow_down: 5 s more, for good
 *                    │  └─ no answer, 5xx: longer and longer, until the codes expire
 *                    └──▶ denied · expired · refused · stopped
 *
 * 1. Nothing is asked more often than the server wants: the interval only grows (3.5).
 * 2. An outage ends nothing: the person may decide while we cannot hear it (3.5 asks for exponential backoff).
 * 3. The codes' own end is kept by this clock too: a server that never says it does not keep us for ever.
 */
import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { nodeIdFrom } from './identity.ts';
import type { ApiCaller, ApiOutcome } from './api-call.ts';
import type { AgentClock } from './clock.ts';
import type { Credentials } from './credentials.ts';

const START = '/api/fabric/device-auth/start';
const TOKEN = '/api/fabric/device-auth/token';
const ROTATE = '/api/fabric/device-auth/rotate';
const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:device_code';
const CLIENT_ID = 'castellan-cli';
/** RFC 8628 3.5: by so much, for this and all further requests. */
const SLOW_DOWN_MS = 5_000;
/** RFC 8628 3.2: where the server names none. */
const INTERVAL_S_DEFAULT = 5;
/** Between polls while nothing answers; a person who has approved waits for no more than this. */
const BACKOFF_MS_MAX = 60_000;
const BACKOFF_DOUBLINGS_MAX = 8;

export interface EnrolmentRequest {
  readonly clientVersion: string;
  readonly hostname: string;
  /** See {@link machineIdOf}. */
  readonly machineId?: string;
  /** A new device even if the control plane knows this machine. */
  readonly forceNew: boolean;
}

export interface EnrolmentCodes {
  readonly deviceCode: string;
  readonly userCode: string;
  readonly verificationUri: string;
  readonly verificationUriComplete?: string;
  readonly expiresInS: number;
  readonly intervalS: number;
}

export type StartOutcome = { readonly kind: 'codes'; readonly codes: EnrolmentCodes } | { readonly kind: 'failed'; readonly reason: string };

export type Enrolment =
  | { readonly kind: 'granted'; readonly credentials: Credentials }
  | { readonly kind: 'denied' }
  /** Also of a code that was used up, which happens when the one answer with the token is lost. */
  | { readonly kind: 'expired' }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'stopped' };

export interface PollOptions {
  readonly api: ApiCaller;
  readonly codes: EnrolmentCodes;
  readonly hostname: string;
  readonly clock: Pick<AgentClock, 'now' | 'sleep' | 'random'>;
  readonly signal: AbortSignal;
  /** Told once an outage begins, with the reason, and once it is over, with none. */
  readonly onOutage: (reason: string | undefined) => void;
}

const seconds = z.number().positive().max(86_400);
const startAnswer = z.object({
  device_code: z.string().min(1).max(512),
  user_code: z.string().min(1).max(64),
  verification_uri: z.url({ protocol: /^https?$/ }),
  verification_uri_complete: z.url({ protocol: /^https?$/ }).optional(),
  expires_in: seconds,
  interval: seconds.optional(),
});
const grantAnswer = z.object({
  device_api_token: z.string().min(1).max(512),
  device_id: z.string().min(1).max(64),
  org_id: z.string().min(1).max(256),
  org_name: z.string().min(1).max(256).optional(),
  nodeId: z.string().nullish(),
  config_public_key: z.string().min(1).max(256),
});

const rotationAnswer = grantAnswer.pick({ device_api_token: true });

export async function startEnrolment(api: ApiCaller, { clientVersion, hostname, machineId, forceNew }: EnrolmentRequest): Promise<StartOutcome> {
  const body = {
    client_id: CLIENT_ID,
    client_version: clientVersion,
    hostname,
    ...(machineId === undefined ? {} : { machine_id: machineId }),
    ...(forceNew ? { force_new: true } : {}),
  };
  const outcome = await api.ask({ method: 'POST', path: START, body });
  if (outcome.kind === 'unreachable') return { kind: 'failed', reason: `no control plane answers (${outcome.reason})` };
  if (outcome.status !== 200) return { kind: 'failed', reason: reasonOf(outcome) };
  const answer = startAnswer.safeParse(outcome.body);
  if (!answer.success) return { kind: 'failed', reason: `the answer is not what RFC 8628 says (${faultOf(answer.error)})` };
  const { device_code: deviceCode, user_code: userCode, verification_uri: verificationUri, verification_uri_complete: complete } = answer.data;
  const codes = { deviceCode, userCode, verificationUri, expiresInS: answer.data.expires_in, intervalS: answer.data.interval ?? INTERVAL_S_DEFAULT };
  return { kind: 'codes', codes: complete === undefined ? codes : { ...codes, verificationUriComplete: complete } };
}

/** Resolves when a person has decided, the codes have expired, or the signal aborts. */
export async function awaitApproval(options: PollOptions): Promise<Enrolment> {
  const { api, codes, hostname, clock, signal, onOutage } = options;
  const expiresAt = clock.now() + codes.expiresInS * 1_000;
  let intervalMs = codes.intervalS * 1_000;
  let waitMs = intervalMs;
  let failures = 0;
  for (;;) {
    await clock.sleep(Math.min(waitMs, expiresAt - clock.now()), signal);
    if (signal.aborted) return { kind: 'stopped' };
    if (clock.now() >= expiresAt) return { kind: 'expired' }; // (3)
    const outcome = await api.ask({
      method: 'POST',
      path: TOKEN,
      body: { device_code: codes.deviceCode, grant_type: GRANT_TYPE, client_id: CLIENT_ID },
      signal,
    });
    if (signal.aborted) return { kind: 'stopped' };
    const read = readPoll(outcome, api.url, codes, hostname);
    switch (read.kind) {
      case 'pending':
      case 'slow-down':
        if (failures > 0) onOutage(undefined);
        failures = 0;
        if (read.kind === 'slow-down') intervalMs += SLOW_DOWN_MS; // (1)
        waitMs = intervalMs;
        break;
      case 'outage':
        if (failures++ === 0) onOutage(read.reason);
        waitMs = Math.max(read.retryAfterMs ?? 0, backoffMs(intervalMs, failures, clock.random())); // (2)
        break;
      default:
        return read;
    }
  }
}

export type Rotation = { readonly kind: 'rotated'; readonly token: string } | { readonly kind: 'failed'; readonly reason: string };

/** A new token for this node. The old one works for another minute: should the answer be lost, it can be asked again until then. */
export async function rotateToken(api: ApiCaller, token: string): Promise<Rotation> {
  const outcome = await api.ask({ method: 'POST', path: ROTATE, token });
  if (outcome.kind === 'unreachable') return { kind: 'failed', reason: `no control plane answers (${outcome.reason})` };
  if (outcome.status !== 200) return { kind: 'failed', reason: reasonOf(outcome) };
  const answer = rotationAnswer.safeParse(outcome.body);
  return answer.success ? { kind: 'rotated', token: answer.data.device_api_token } : { kind: 'failed', reason: faultOf(answer.error) };
}

type Poll =
  | Exclude<Enrolment, { readonly kind: 'stopped' }>
  | { readonly kind: 'pending' }
  | { readonly kind: 'slow-down' }
  | { readonly kind: 'outage'; readonly reason: string; readonly retryAfterMs?: number };

function readPoll(outcome: ApiOutcome, apiUrl: string, { deviceCode }: EnrolmentCodes, hostname: string): Poll {
  if (outcome.kind === 'unreachable') return { kind: 'outage', reason: outcome.reason };
  const { status, body, retryAfterMs } = outcome;
  if (status === 429 || status >= 500) return { kind: 'outage', reason: `HTTP status ${status}`, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
  if (status === 200) {
    const grant = grantAnswer.safeParse(body);
    if (!grant.success) return { kind: 'refused', reason: `the control plane approved, but its answer cannot be used (${faultOf(grant.error)})` };
    const { device_api_token: token, device_id: deviceId, org_id: orgId, org_name: orgName, nodeId, config_public_key: configKey } = grant.data;
    const credentials = { apiUrl, deviceId, nodeId: nodeIdFrom(nodeId ?? undefined, hostname), orgId, token, configKey, deviceCode };
    return { kind: 'granted', credentials: orgName === undefined ? credentials : { ...credentials, orgName } };
  }
  switch (body['error']) {
    case 'authorization_pending':
      return { kind: 'pending' };
    case 'slow_down':
      return { kind: 'slow-down' };
    case 'access_denied':
      return { kind: 'denied' };
    case 'expired_token':
    case 'invalid_grant':
      return { kind: 'expired' };
    default:
      return { kind: 'refused', reason: reasonOf(outcome) };
  }
}

/** Doubled with each failure, spread over its upper half, never below the interval. (1) */
function backoffMs(intervalMs: number, failures: number, random: number): number {
  const doubled = Math.min(BACKOFF_MS_MAX, intervalMs * 2 ** Math.min(failures, BACKOFF_DOUBLINGS_MAX));
  return Math.max(intervalMs, doubled * (0.5 + 0.5 * random));
}

function reasonOf({ status, body }: Extract<ApiOutcome, { kind: 'answer' }>): string {
  const said = body['error_description'] ?? body['detail'] ?? body['error'];
  return typeof said === 'string' ? said.slice(0, 300) : `HTTP status ${status}; is it Castellan?`;
}

function faultOf(error: z.ZodError): string {
  const [issue] = error.issues;
  return issue === undefined ? 'unreadable' : `${issue.path.join('.')}: ${issue.message}`;
}

/**
 * A stable name of this machine that says nothing of its `/etc/machine-id`, which machine-id(5) asks not to expose:
 * keyed by it, as sd_id128_get_machine_app_specific(3) does.
 */
export function machineIdOf(machineId: string): string {
  return createHmac('sha256', machineId.trim()).update('castellan device').digest('hex').slice(0, 32);
}
