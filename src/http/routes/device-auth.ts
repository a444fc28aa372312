/**
 * Enrolment of a device: the device authorization grant (RFC 8628), by JSON or by form.
 *
 * 1. Answers are as RFC 6749, 5.1 and 5.2 want them: errors are 400 with `{error}`, and nothing is stored by a cache.
 * 2. A code or a token stands in no log and in no description of an error.
 * 3. Both routes are public, so their rate is limited by address. The pace of one code is the service's to keep (`slow_down`).
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { createHash } from 'node:crypto';
import type { Devices, TokenAnswer } from '../../protocol/device.ts';
import { deviceOf } from '../access.ts';
import * as schemas from '../device-schemas.ts';
import { addressOf, limited } from '../fabric/answers.ts';
import { problemOf, sendProblem } from '../problem.ts';
import { rateLimit } from '../rate-limits.ts';
import type { App, RouteContext } from './context.ts';

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:device_code';
/** Nobody enrols a rack faster, and a flood of requests stays small until they expire. */
const STARTS_PER_MINUTE = 60;
/** 250 devices behind one address, at the pace of 5 s. */
const POLLS_PER_MINUTE = 3_000;
/** The parameters of both requests have some 500 bytes. */
const FORM_BYTES_MAX = 8_192;
const FORM_PARAMETERS_MAX = 32;

export interface DeviceAuthOptions {
  readonly devices: Devices;
  /** Where people reach this server; absent: where the request says that it was sent. */
  readonly publicUrl?: string;
}

type OAuthError = 'authorization_pending' | 'slow_down' | 'expired_token' | 'access_denied' | 'invalid_request' | 'unsupported_grant_type';

const REFUSALS: { readonly [kind in Exclude<TokenAnswer['kind'], 'granted'>]: readonly [error: OAuthError, description: string] } = {
  pending: ['authorization_pending', 'Nobody has approved this device yet.'],
  'slow-down': ['slow_down', 'Polled too soon: wait 5 seconds longer between requests from now on.'],
  expired: ['expired_token', 'The device code is unknown, used or too old. Start again.'],
  denied: ['access_denied', 'This device was denied.'],
};

export function deviceAuthRoutes(app: App, { now }: Pick<RouteContext, 'now'>, { devices, publicUrl }: DeviceAuthOptions): void {
  const starts = rateLimit({ limit: STARTS_PER_MINUTE, windowMs: 60_000 }, now);
  const polls = rateLimit({ limit: POLLS_PER_MINUTE, windowMs: 60_000 }, now);
  const baseOf = (request: FastifyRequest): string => publicUrl ?? `${request.protocol}://${request.host}`;

  // A scope of its own: here alone are forms read, and are errors those of OAuth.
  app.register(async (plain) => {
    const scope: App = plain.withTypeProvider<ZodTypeProvider>();
    acceptForms(scope);
    scope.setErrorHandler((error: Error, request, reply) => {
      const document = problemOf(error);
      if (document.status >= 500) request.log.error({ err: error }, 'request failed');
      if (document.status === 400 || document.status === 413 || document.status === 415) return oauthError(reply, 'invalid_request', document.detail);
      return reply
        .code(document.status)
        .header('cache-control', 'no-store')
        .send({ ...document, error: document.code, error_description: document.detail });
    });
    scope.addHook('onRequest', async (_request, reply) => void reply.headers({ 'cache-control': 'no-store', pragma: 'no-cache' }));

    scope.post('/api/fabric/device-auth/start', {
      config: { access: 'public' },
      schema: {
        summary: 'Asks for a device code and the code that a person types (RFC 8628, 3.1)',
        tags: ['devices'],
        body: schemas.deviceAuthStart,
        response: { 200: schemas.codes, 400: schemas.oauthError },
      },
      preHandler: async (request, reply) => answerLimit(reply, starts.take(addressOf(request))),
      handler: async (request, reply) => {
        const { client_id: clientId, client_version: version, hostname, machine_id: machineId, force_new: forceNew } = request.body;
        const { deviceCode, userCode, expiresInS, intervalS } = await devices.start({
          clientId,
          address: request.ip,
          ...(version === undefined ? {} : { clientVersion: version }),
          ...(hostname === undefined ? {} : { hostname }),
          ...(machineId === undefined ? {} : { machineId }),
          ...(forceNew === undefined ? {} : { forceNew }),
        });
        const page = `${baseOf(request)}/device`;
        return reply.send({
          device_code: deviceCode,
          user_code: userCode,
          verification_uri: page,
          verification_uri_complete: `${page}?code=${encodeURIComponent(userCode)}`,
          expires_in: expiresInS,
          interval: intervalS,
        });
      },
    });

    scope.post('/api/fabric/device-auth/token', {
      config: { access: 'public' },
      schema: {
        summary: 'Exchanges an approved device code for the device token, once (RFC 8628, 3.4)',
        tags: ['devices'],
        body: schemas.deviceAuthToken,
        response: { 200: schemas.granted, 400: schemas.oauthError },
      },
      preHandler: async (request, reply) => answerLimit(reply, polls.take(addressOf(request))),
      handler: async (request, reply) => {
        const { device_code: deviceCode, grant_type: grantType } = request.body;
        if (grantType !== GRANT_TYPE) return oauthError(reply, 'unsupported_grant_type', `The grant_type must be ${GRANT_TYPE}.`);
        const answer = await devices.token(deviceCode);
        if (answer.kind === 'granted') return reply.send(grantOf(answer, baseOf(request)));
        const [error, description] = REFUSALS[answer.kind];
        return oauthError(reply, error, description, answer.kind === 'slow-down' ? answer.intervalS : undefined);
      },
    });
  });

  app.post('/api/fabric/device-auth/rotate', {
    config: { access: 'device' },
    schema: { summary: 'A new token for the device that asks; the old one works for one more minute', tags: ['devices'], response: { 200: schemas.rotated } },
    handler: async (request, reply) => {
      const token = await devices.rotateToken(deviceOf(request).deviceId);
      if (token === undefined) return sendProblem(reply, 'unauthorized', 'The device is revoked. Run "castellan init" on the node.');
      return reply.header('cache-control', 'no-store').send({ device_api_token: token, authkey: tokenId(token) });
    },
  });
}

/** Says which token it is without saying the token: shown to people, and the `authkey` that agents of others insist on. There is no mesh to join. */
export function tokenId(token: string): string {
  return `cdk_${createHash('sha256').update(`id ${token}`).digest('base64url').slice(0, 16)}`;
}

function grantOf({ token, deviceId, nodeId, orgId, orgName, configKey }: Extract<TokenAnswer, { kind: 'granted' }>, base: string) {
  return {
    authkey: tokenId(token),
    device_api_token: token,
    token_type: 'Bearer' as const,
    org_id: orgId,
    ...(orgName === undefined ? {} : { org_name: orgName }),
    api_base_url: base,
    nodeId,
    device_id: deviceId,
    config_public_key: configKey,
  };
}

/** (1) */
function oauthError(reply: FastifyReply, error: OAuthError, description: string, interval?: number): FastifyReply {
  return reply
    .code(400)
    .headers({ 'cache-control': 'no-store', pragma: 'no-cache' })
    .send({ error, error_description: description, ...(interval === undefined ? {} : { interval }) });
}

function answerLimit(reply: FastifyReply, over: Parameters<typeof limited>[1] | undefined): FastifyReply | undefined {
  return over === undefined ? undefined : limited(reply, over);
}

/** Parameters may not be given twice (RFC 6749, 3.1); an empty one is as if it were not there. */
function acceptForms(scope: App): void {
  scope.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string', bodyLimit: FORM_BYTES_MAX }, (_request, body, done) => {
    const parameters = new URLSearchParams(body as string);
    const names = [...parameters.keys()];
    if (names.length > FORM_PARAMETERS_MAX || new Set(names).size < names.length)
      done(Object.assign(new Error('A form has each parameter once.'), { statusCode: 400 }), undefined);
    else done(null, Object.fromEntries([...parameters].filter(([, value]) => value !== '')));
  });
}
