/**
 * Devices, for people: requests to approve, the devices with their desired configuration, and the catalogue of services.
 *
 * 1. A request of a device belongs to no organisation until an operator approves it into the own one; who knows its code may see it.
 *    Looking codes up is limited hard, because a user code is short enough to be guessed (RFC 8628, 5.1).
 * 2. Another organisation's device is as if it did not exist.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { CatalogueItem } from '../../protocol/catalogue-item.ts';
import type { ApprovalResult, DeviceCommandResult, Devices, DeviceView } from '../../protocol/device.ts';
import { callerOf } from '../access.ts';
import { sees } from '../auth/principal.ts';
import * as schemas from '../device-schemas.ts';
import { limited } from '../fabric/answers.ts';
import { sendProblem } from '../problem.ts';
import { rateLimit } from '../rate-limits.ts';
import { pageOf, pageQuery, problemDocument } from '../schemas.ts';
import { orgFilter, type App, type RouteContext } from './context.ts';
import { tokenId } from './device-auth.ts';
import { pageThrough } from './whole-list.ts';

const LOOK_UPS_PER_MINUTE = 10;

export interface DeviceRoutesOptions {
  readonly devices: Devices;
  readonly catalogue: readonly CatalogueItem[];
  /** The organisation of devices that a caller of the whole fleet approves. */
  readonly defaultOrg: string;
}

export function deviceRoutes(app: App, { now }: Pick<RouteContext, 'now'>, { devices, catalogue, defaultOrg }: DeviceRoutesOptions): void {
  const lookUps = rateLimit({ limit: LOOK_UPS_PER_MINUTE, windowMs: 60_000 }, now);
  /** Approving and denying tell as much about a code as looking it up does. (1) */
  const limitLookUps = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
    const { subject, org } = callerOf(request);
    const over = lookUps.take(JSON.stringify([subject, org]));
    return over === undefined ? undefined : limited(reply, over);
  };
  const visible = async (request: FastifyRequest, id: string): Promise<DeviceView | undefined> => {
    const device = await devices.get(id);
    return device !== undefined && sees(callerOf(request), device.orgId) ? device : undefined;
  };

  app.get('/api/v1/enrolments/:userCode', {
    config: { access: 'operator' },
    schema: {
      summary: 'The device that shows this code and waits for approval',
      tags: ['devices'],
      params: schemas.userCodeParams,
      response: { 200: schemas.pendingEnrolment, 404: problemDocument, 429: problemDocument },
    },
    preHandler: limitLookUps,
    handler: async (request, reply) => {
      const found = await devices.findByUserCode(request.params.userCode);
      return found === undefined ? noEnrolment(reply) : reply.header('cache-control', 'no-store').send(found);
    },
  });

  app.post('/api/v1/enrolments/:userCode/approve', {
    config: { access: 'operator' },
    schema: {
      summary: 'Lets the device in, as a node of the caller’s organisation',
      tags: ['devices'],
      params: schemas.userCodeParams,
      body: schemas.approveBody,
      response: { 200: schemas.deviceView, 404: problemDocument, 409: problemDocument, 429: problemDocument },
    },
    preHandler: limitLookUps,
    handler: async (request, reply) => {
      const { subject, org } = callerOf(request);
      const { nodeId, name } = request.body ?? {};
      const choice = { ...(nodeId === undefined ? {} : { nodeId }), ...(name === undefined ? {} : { name }) };
      return decided(reply, await devices.approve(request.params.userCode, { subject, orgId: org ?? defaultOrg }, choice));
    },
  });

  app.post('/api/v1/enrolments/:userCode/deny', {
    config: { access: 'operator' },
    schema: {
      summary: 'Turns the device away',
      tags: ['devices'],
      params: schemas.userCodeParams,
      response: { 200: schemas.denied, 404: problemDocument, 409: problemDocument, 429: problemDocument },
    },
    preHandler: limitLookUps,
    handler: async (request, reply) => decided(reply, await devices.deny(request.params.userCode, { subject: callerOf(request).subject })),
  });

  app.get('/api/v1/devices', {
    config: { access: 'viewer' },
    schema: {
      summary: 'Devices with their state and why they are in it',
      tags: ['devices'],
      querystring: schemas.deviceQuery,
      response: { 200: pageOf(schemas.deviceView) },
    },
    handler: async (request) => {
      const { cursor, limit, state } = request.query;
      return await devices.list({ limit, ...orgFilter(request), ...(cursor === undefined ? {} : { cursor }), ...(state === undefined ? {} : { state }) });
    },
  });

  app.get('/api/v1/devices/:id', {
    config: { access: 'viewer' },
    schema: { summary: 'One device', tags: ['devices'], params: schemas.deviceParams, response: { 200: schemas.deviceView, 404: problemDocument } },
    handler: async (request, reply) => {
      const device = await visible(request, request.params.id);
      return device === undefined ? noDevice(reply, request.params.id) : reply.send(device);
    },
  });

  app.put('/api/v1/devices/:id/config', {
    config: { access: 'operator' },
    schema: {
      summary: 'Saves what the device shall be, under the next revision, and sends it there',
      tags: ['devices'],
      params: schemas.deviceParams,
      body: schemas.configBody,
      response: { 200: schemas.deviceView, 404: problemDocument, 409: problemDocument, 422: problemDocument },
    },
    handler: async (request, reply) => {
      const { id } = request.params;
      if ((await visible(request, id)) === undefined) return noDevice(reply, id);
      return answer(reply, id, await devices.configure(id, request.body, callerOf(request).subject));
    },
  });

  app.post('/api/v1/devices/:id/revoke', {
    config: { access: 'operator' },
    schema: {
      summary: 'Ends the device’s token; what it has open ends within seconds',
      tags: ['devices'],
      params: schemas.deviceParams,
      response: { 200: schemas.deviceView, 404: problemDocument, 409: problemDocument },
    },
    handler: async (request, reply) => {
      const { id } = request.params;
      if ((await visible(request, id)) === undefined) return noDevice(reply, id);
      return answer(reply, id, await devices.revoke(id, callerOf(request).subject));
    },
  });

  app.post('/api/v1/devices/:id/rotate-token', {
    config: { access: 'admin' },
    schema: {
      summary: 'A new token, to be brought to the device; the old one works for one more minute',
      tags: ['devices'],
      params: schemas.deviceParams,
      response: { 200: schemas.rotated, 404: problemDocument, 409: problemDocument },
    },
    handler: async (request, reply) => {
      const { id } = request.params;
      if ((await visible(request, id)) === undefined) return noDevice(reply, id);
      const token = await devices.rotateToken(id);
      if (token === undefined) return sendProblem(reply, 'device_refused', 'The device has no token: it was not redeemed yet, or is revoked.', 'id');
      return reply.header('cache-control', 'no-store').send({ device_api_token: token, authkey: tokenId(token) });
    },
  });

  app.get('/api/v1/catalogue', {
    config: { access: 'viewer' },
    schema: {
      summary: 'Services that a configuration may name, with what each needs',
      tags: ['devices'],
      querystring: pageQuery,
      response: { 200: pageOf(schemas.catalogueItem) },
    },
    handler: async (request) => pageThrough(catalogue.map(shown), request.query),
  });
}

/** What a chooser needs and no more: how the container is made is no part of a configuration. */
function shown({ name, title, description, kind, parameters, ports, gpu, diskGb, startDeadlineMs }: CatalogueItem): CatalogueItem {
  const described = Object.entries(parameters ?? {}).map(([key, { description: text, type, pattern, min, max, default: usual, required }]) => [
    key,
    { description: text, type, pattern, min, max, default: usual, required },
  ]);
  return {
    name,
    title,
    description,
    kind,
    ports,
    diskGb,
    startDeadlineMs,
    ...(gpu === undefined ? {} : { gpu }),
    ...(described.length === 0 ? {} : { parameters: Object.fromEntries(described) as NonNullable<CatalogueItem['parameters']> }),
  };
}

function decided(reply: FastifyReply, result: ApprovalResult): FastifyReply {
  reply.header('cache-control', 'no-store');
  switch (result.kind) {
    case 'approved':
      return reply.send(result.device);
    case 'denied':
      return reply.send({ denied: true });
    case 'unknown-code':
      return noEnrolment(reply);
    case 'refused':
      return sendProblem(reply, 'device_refused', result.reason);
  }
}

function answer(reply: FastifyReply, id: string, result: DeviceCommandResult): FastifyReply {
  switch (result.kind) {
    case 'missing':
      return noDevice(reply, id);
    case 'refused':
      return sendProblem(reply, 'device_refused', result.reason, 'id');
    case 'done':
      return reply.send(result.unsupported === undefined ? result.device : { ...result.device, unsupported: result.unsupported });
  }
}

/** Unknown, used, denied and too old are one answer: nothing is to be learned by guessing. */
function noEnrolment(reply: FastifyReply): FastifyReply {
  return sendProblem(
    reply,
    'enrolment_not_found',
    'No device waits with this code. Check it, or start again on the device: a code lasts ten minutes.',
    'userCode',
  );
}

function noDevice(reply: FastifyReply, id: string): FastifyReply {
  return sendProblem(reply, 'device_not_found', `There is no device "${id}".`, 'id');
}
