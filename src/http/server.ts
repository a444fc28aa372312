/**
 * The control plane over HTTP: Fastify with its guards, in the order in which a request meets them, and the routes.
 *
 *   pressure → rate limit → CORS, security headers, cookies → access → body and schema → handler
 *
 * Each guard answers by itself with a problem document; what a handler throws ends in `answerError`.
 */
import cookie from '@fastify/cookie';
import cors from '@fastify/cors';
import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import swagger from '@fastify/swagger';
import underPressure from '@fastify/under-pressure';
import Fastify, { type FastifyBaseLogger, type FastifyError, type FastifyInstance } from 'fastify';
import { jsonSchemaTransform, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import type { ControlPlane } from '../protocol/control-plane.ts';
import type { CatalogueItem } from '../protocol/catalogue-item.ts';
import type { Devices } from '../protocol/device.ts';
import type { FabricRedis } from '../protocol/fabric-redis.ts';
import type { Jobs } from '../protocol/job.ts';
import type { RebalanceJobs } from '../protocol/rebalance.ts';
import type { UserEvents } from '../protocol/user-events.ts';
import { guardRoutes } from './access.ts';
import { deviceTokens, type DeviceTokens } from './auth/device-tokens.ts';
import { createSessions, type Sessions } from './auth/sessions.ts';
import { tokenVerifier, type TokenKeys, type VerifyToken, type WallClock } from './auth/tokens.ts';
import { BODY_BYTES_MAX, limitBody } from './body-limits.ts';
import { eventStreams, type EventStreamOptions } from './event-stream.ts';
import { nodeGate } from './fabric/node-gate.ts';
import { liveStatus } from './live/live-status.ts';
import { answerError, sendProblem } from './problem.ts';
import { socketIo } from './realtime/socket-io.ts';
import { actorRoutes } from './routes/actors.ts';
import type { App, RouteContext } from './routes/context.ts';
import { deadLetterRoutes } from './routes/dead-letters.ts';
import { deviceAuthRoutes } from './routes/device-auth.ts';
import { deviceRoutes } from './routes/devices.ts';
import { eventStreamRoutes } from './routes/events-stream.ts';
import { fabricRedisRoutes } from './routes/fabric-redis.ts';
import { healthRoutes } from './routes/health.ts';
import { heartbeatRoutes } from './routes/heartbeat.ts';
import { jobRoutes } from './routes/jobs.ts';
import { machineRoutes } from './routes/machines.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { nodeRoutes } from './routes/nodes.ts';
import { pageRoutes } from './routes/pages.ts';
import { partitionRoutes } from './routes/partitions.ts';
import { queueRoutes } from './routes/queues.ts';
import { scheduleRoutes } from './routes/schedules.ts';
import { rebalanceRoutes } from './routes/rebalance.ts';
import { sessionRoutes } from './routes/sessions.ts';
import { workerConfigRoutes } from './routes/worker-config.ts';
import type { HttpSettings } from './settings.ts';

/** Longer than the agent's and the engine's own stalls; beyond it, answering reads would only add to the trouble. */
const EVENT_LOOP_DELAY_MS_MAX = 2_000;
const REQUEST_TIMEOUT_MS = 30_000;
const URL_PARAMETER_LENGTH_MAX = 512;

export interface DeviceOptions {
  readonly devices: Devices;
  readonly catalogue: readonly CatalogueItem[];
  /** The organisation of devices that a caller of the whole fleet approves. */
  readonly defaultOrg: string;
  /** Absent: there is no way in for nodes without Redis credentials. Closed by whoever made it. */
  readonly redis?: FabricRedis;
  /** Of one node; default 6,000. */
  readonly requestsPerMinute?: number;
}

export interface HttpServerOptions {
  readonly controlPlane: ControlPlane;
  /** Absent: there are no routes for jobs. */
  readonly jobs?: Jobs;
  /** Absent: there are no rebalance jobs, and nothing listens at `/socket.io`. */
  readonly rebalance?: { readonly jobs: RebalanceJobs; readonly events: UserEvents };
  /** Absent: devices cannot enrol. */
  readonly devices?: DeviceOptions;
  readonly settings: HttpSettings;
  readonly tokenKeys: TokenKeys;
  /** The data folder's own secret: session cookies are signed with a key derived from it. */
  readonly ownSecret: Uint8Array;
  readonly version: string;
  readonly logger?: FastifyBaseLogger;
  /** Wall clock, ms since the epoch. */
  readonly now?: WallClock;
  readonly liveTimeoutMs?: number;
  readonly stream?: Pick<EventStreamOptions, 'heartbeatMs' | 'stallMs'>;
}

export interface HttpServer {
  /** Listens with `app.listen({ host, port })`, ends with `app.close()`. */
  readonly app: FastifyInstance;
  readonly sessions: Sessions;
}

export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { controlPlane, settings, tokenKeys, ownSecret, now = Date.now } = options;
  const app: App = Fastify({
    ...(options.logger === undefined ? {} : { loggerInstance: options.logger }),
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    routerOptions: { maxParamLength: URL_PARAMETER_LENGTH_MAX },
    // Idle keep-alive connections end at a close; streams are ended in preClose.
    forceCloseConnections: 'idle',
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(() => JSON.stringify);
  app.removeContentTypeParser('text/plain');
  acceptEmptyJson(app);
  app.setErrorHandler<FastifyError>(answerError);

  const sessions = createSessions(ownSecret, now);
  const tokens = options.devices === undefined ? undefined : deviceTokens(options.devices.devices);
  const access = {
    verifyBearer: bearerVerifier(tokenKeys, ownSecret, now),
    verifySession: sessions.verify,
    allowedOrigins: settings.corsOrigins,
    ...(tokens === undefined ? {} : { devices: tokens }),
  };
  const streams = eventStreams({ controlPlane, now, ...options.stream });
  const live = liveStatus({
    networks: settings.liveNetworks,
    ...(settings.localNodeId === undefined ? {} : { localNodeId: settings.localNodeId }),
    ...(options.liveTimeoutMs === undefined ? {} : { timeoutMs: options.liveTimeoutMs }),
  });
  const context: RouteContext = { controlPlane, sessions, access, live, streams, now };

  await registerGuards(app, settings, options.version);
  guardRoutes(app, access);
  app.addHook('preValidation', limitBody);
  app.addHook('preClose', async () => {
    streams.close();
    tokens?.close();
  });
  app.addHook('onClose', async () => live.close());
  registerRoutes(app, context, options.jobs);
  if (options.devices !== undefined && tokens !== undefined) registerDevices(app, context, options.devices, tokens, settings);
  if (options.rebalance !== undefined) {
    rebalanceRoutes(app, options.rebalance.jobs);
    socketIo(app, {
      events: options.rebalance.events,
      verify: access.verifyBearer,
      allowedOrigins: settings.corsOrigins,
      now,
      clock: () => performance.now(),
    });
  }
  return { app: app as unknown as FastifyInstance, sessions };
}

/** Many programs name JSON with every POST; a route that takes a body refuses one that is not there by its schema. */
function acceptEmptyJson(app: Pick<App, 'getDefaultJsonParser' | 'removeContentTypeParser' | 'addContentTypeParser'>): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined);
    else void parse(request, body as string, done);
  });
}

/**
 * The data folder's own tokens are accepted beside the configured ones, so that the commands on this machine work whoever
 * gives out tokens to people. They are looked at first: no key set need be reachable for them.
 */
function bearerVerifier(keys: TokenKeys, ownSecret: Uint8Array, now: WallClock): VerifyToken {
  const own = tokenVerifier({ kind: 'secret', secret: ownSecret, strict: true }, 'bearer', now);
  const configured = tokenVerifier(keys, 'bearer', now);
  return async (token) => {
    const verification = await own(token);
    return verification.kind === 'valid' ? verification : await configured(token);
  };
}

async function registerGuards(app: App, settings: HttpSettings, version: string): Promise<void> {
  await app.register(underPressure, {
    maxEventLoopDelay: EVENT_LOOP_DELAY_MS_MAX,
    pressureHandler: (request, reply) => {
      if (request.url === '/health' || request.url === '/metrics') return;
      sendProblem(reply.header('retry-after', '2'), 'overloaded', 'The process is overloaded; try again in some seconds.');
    },
  });
  await app.register(rateLimit, { global: true, max: settings.requestsPerMinute, timeWindow: 60_000 });
  await app.register(cors, {
    origin: settings.corsOrigins === '*' ? '*' : [...settings.corsOrigins],
    credentials: settings.corsOrigins !== '*',
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    exposedHeaders: ['retry-after', 'www-authenticate'],
    maxAge: 600,
  });
  await app.register(helmet, {
    // `self` alone; nothing inline. No upgrade to https: on loopback there is none.
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        scriptSrc: ["'self'"],
        styleSrc: ["'self'"],
        connectSrc: ["'self'"],
        imgSrc: ["'self'", 'data:'],
        baseUri: ["'none'"],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
      },
    },
    crossOriginResourcePolicy: { policy: settings.corsOrigins.length === 0 ? 'same-origin' : 'cross-origin' },
    referrerPolicy: { policy: 'no-referrer' },
    strictTransportSecurity: false,
  });
  await app.register(cookie);
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Castellan', version, description: 'Durable state machines over Redis Streams, and a live fleet of nodes.' },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } } },
      security: [{ bearer: [] }],
    },
    transform: jsonSchemaTransform,
  });
}

function registerDevices(app: App, context: RouteContext, options: DeviceOptions, tokens: DeviceTokens, { publicUrl }: HttpSettings): void {
  const { devices, redis, requestsPerMinute } = options;
  deviceAuthRoutes(app, context, { devices, ...(publicUrl === undefined ? {} : { publicUrl }) });
  deviceRoutes(app, context, options);
  if (redis === undefined) return;
  const gate = nodeGate({ devices, redis, now: context.now, ...(requestsPerMinute === undefined ? {} : { requestsPerMinute }) });
  fabricRedisRoutes(app, context, { devices, tokens, redis, gate });
  workerConfigRoutes(app, gate);
  heartbeatRoutes(app, context, { devices, redis, gate });
}

function registerRoutes(app: App, context: RouteContext, jobs: Jobs | undefined): void {
  healthRoutes(app, context);
  metricsRoutes(app, context);
  sessionRoutes(app, context);
  nodeRoutes(app, context);
  machineRoutes(app, context);
  actorRoutes(app, context);
  deadLetterRoutes(app, context);
  partitionRoutes(app, context);
  if (jobs !== undefined) {
    jobRoutes(app, jobs);
    queueRoutes(app, jobs);
    scheduleRoutes(app, jobs);
  }
  eventStreamRoutes(app, context);
  pageRoutes(app);
  app.get('/openapi.json', { config: { access: 'public' }, schema: { hide: true }, handler: async () => app.swagger() });
  app.setNotFoundHandler((request, reply) =>
    sendProblem(reply, 'not_found', `There is nothing at ${request.method} ${request.url.split('?')[0]?.slice(0, 200)}. See /docs.`),
  );
}
