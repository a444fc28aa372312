/**
 * Socket.IO at `/socket.io` for the programs of users: each socket is admitted with a token and given the events of its user (contracts 4).
 *
 * 1. A socket is admitted by its token (`auth.token`) before anything is told to it, and ends when the token expires.
 * 2. It is in the room `user:{userId}` of its own user and can join no other. What it sends is counted and otherwise left aside.
 * 3. `auth.cursor` resumes: exactly what came after it, or a `connect_error` with the code `cursor_gone`. Each event carries its `cursor`.
 * 4. Requests pass the guards of all routes first. A page of a foreign origin is refused, by polling and by upgrade alike.
 * 5. Links are bounded: in all, for each user, and in the time that one may stay without a token.
 *
 * Whether an event has reached its socket is told by Engine.IO's own ping and pong, which every client answers in order.
 */
import { createServer, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Server, type Socket } from 'socket.io';
import type { UserEvents } from '../../protocol/user-events.ts';
import { originAllowed, type OriginOf } from '../access.ts';
import { userIdOf, type Principal } from '../auth/principal.ts';
import type { VerifyToken, WallClock } from '../auth/tokens.ts';
import type { App } from '../routes/context.ts';
import { userDelivery, type UserDelivery } from './user-delivery.ts';

const PATH = '/socket.io/';
/** Links in all; each costs some 20 kB. */
const LINKS_MAX = 10_000;
/** Tabs and programs of one person, in this process. */
const SOCKETS_OF_USER_MAX = 32;
/** A link without an admitted socket is closed after so long. */
const ADMIT_MS = 10_000;
/** Clients have a token to send and pings to answer. */
const MESSAGE_BYTES_MAX = 16_384;
const PACKETS_MAX = 500;
const PACKETS_WINDOW_MS = 10_000;
/** How long links may take to close by themselves when the server stops. */
const CLOSE_MS = 1_000;
/** setTimeout's own bound. */
const TIMEOUT_MS_MAX = 2_147_483_647;
const CURSOR = /^\d{1,16}-\d{1,16}$/;

export interface SocketIoOptions {
  readonly events: UserEvents;
  readonly verify: VerifyToken;
  readonly allowedOrigins: readonly string[] | '*';
  readonly now: WallClock;
  /** Monotonic, ms. */
  readonly clock: () => number;
}

interface Admitted {
  readonly principal: Principal;
  readonly userId: string;
  readonly cursor: string | undefined;
}

type UserServer = Server<Record<string, never>, { [event: string]: (data: object) => void }, Record<string, never>, Admitted>;
type AdmittedSocket = Socket<Record<string, never>, { [event: string]: (data: object) => void }, Record<string, never>, Admitted>;

/** Registers the routes; hears of events once the app is ready, and ends before connections are waited for. */
export function socketIo(app: App, options: SocketIoOptions): void {
  const { events, clock } = options;
  const delivery = userDelivery({ events, clock, onError: (error) => app.log.warn({ err: error }, 'user events') });
  // Its own server never listens: requests and upgrades come from the app's (4).
  const io: UserServer = new Server(createServer(), {
    path: PATH,
    serveClient: false,
    destroyUpgrade: false,
    connectTimeout: ADMIT_MS,
    maxHttpBufferSize: MESSAGE_BYTES_MAX,
  });
  const upgraded = new Set<Duplex>();

  io.use((socket, next) => {
    void (async () => {
      const refusal = await admit(socket, options, delivery).catch((error: unknown) => {
        app.log.error({ err: error }, 'a socket could not be admitted');
        return new NotAdmitted('internal', 500, 'Something went wrong here.');
      });
      next(refusal);
    })();
  });
  io.on('connection', (socket) => serve(socket, options, delivery));
  io.engine.on('connection', limitPackets);

  app.route({
    method: ['GET', 'POST'],
    url: PATH,
    exposeHeadRoute: false,
    config: { access: 'public' },
    schema: { hide: true },
    onRequest: async (request, reply) => {
      const refusal = refusalOf(request, options, io.engine.clientsCount);
      if (refusal !== undefined) return reply.code(refusal.status).send({ code: 3, message: refusal.why });
      return handOver(io, request, reply);
    },
    handler: async () => undefined,
  });
  app.server.on('upgrade', (request: IncomingMessage, link: Duplex, head: Buffer) => {
    if (request.url === undefined || pathOf(request.url) !== PATH) return; // Another one's.
    const refusal = refusalOf({ headers: request.headers, protocol: 'http', host: request.headers.host ?? '' }, options, io.engine.clientsCount);
    if (refusal !== undefined) return void link.end(`HTTP/1.1 ${refusal.status} ${refusal.why}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
    upgraded.add(link);
    link.once('close', () => upgraded.delete(link));
    io.engine.handleUpgrade(request, link, head);
  });

  app.addHook('onReady', async () => await events.listen((userId) => delivery.ring(userId)));
  app.addHook('preClose', async () => {
    await io.close();
    await closed(upgraded, CLOSE_MS);
    for (const link of upgraded) link.destroy();
    await delivery.close();
    await events.close();
  });
}

class NotAdmitted extends Error {
  /** Told to the client beside the message. */
  readonly data: { readonly code: string; readonly status: number };
  constructor(code: string, status: number, message: string) {
    super(message);
    this.data = { code, status };
  }
}

/** What the client is told when it is not admitted (1, 3, 5). */
async function admit(socket: AdmittedSocket, { verify, events }: SocketIoOptions, delivery: UserDelivery): Promise<NotAdmitted | undefined> {
  const { token, cursor } = socket.handshake.auth as { readonly token?: unknown; readonly cursor?: unknown };
  if (typeof token !== 'string' || token === '') return new NotAdmitted('unauthorized', 401, 'Send a token in auth.token.');
  const verification = await verify(token.replace(/^Bearer +/i, ''));
  if (verification.kind === 'unavailable') return new NotAdmitted('keys_unavailable', 503, 'Tokens cannot be checked now; try again.');
  if (verification.kind === 'invalid') return new NotAdmitted('unauthorized', 401, `The token was refused: ${verification.reason}.`);
  const userId = userIdOf(verification.principal);
  if (delivery.count(userId) >= SOCKETS_OF_USER_MAX) return new NotAdmitted('too_many_sockets', 429, `A user may have ${SOCKETS_OF_USER_MAX} sockets.`);
  if (cursor !== undefined && cursor !== null) {
    if (typeof cursor !== 'string' || !CURSOR.test(cursor)) return new NotAdmitted('invalid_cursor', 400, 'auth.cursor is no cursor of an event.');
    const beginning = await events.begin({ userId, socket: socket.id }, cursor).catch(() => undefined);
    if (beginning === undefined) return new NotAdmitted('unavailable', 503, 'Events cannot be read now; try again.');
    if (beginning.kind === 'gone') return new NotAdmitted('cursor_gone', 410, 'The cursor is not held any more. Ask for the jobs, and connect without it.');
  }
  Object.assign(socket.data, { principal: verification.principal, userId, cursor: cursor ?? undefined });
  return undefined;
}

function serve(socket: AdmittedSocket, { now }: SocketIoOptions, delivery: UserDelivery): void {
  const { principal, userId, cursor } = socket.data;
  const { conn } = socket;
  const expiry = setTimeout(() => socket.disconnect(true), Math.min(Math.max(principal.expiresAt - now(), 0), TIMEOUT_MS_MAX));
  void socket.join(`user:${userId}`); // (2)
  const attached = delivery.attach(
    userId,
    {
      id: socket.id,
      send: ({ name, data, cursor: at }) => void socket.emit(name, { ...data, cursor: at }),
      // Not in the declarations; what schedulePing calls.
      probe: () => (conn as unknown as { sendPacket(type: 'ping'): void }).sendPacket('ping'),
      drop: () => conn.close(true),
    },
    cursor,
  );
  const onPacket = ({ type }: { readonly type: string }): void => void (type === 'ping' && attached.probed());
  const onAnswer = (): void => attached.answered();
  conn.on('packetCreate', onPacket);
  conn.on('heartbeat', onAnswer);
  socket.once('disconnect', (reason) => {
    clearTimeout(expiry);
    conn.off('packetCreate', onPacket);
    conn.off('heartbeat', onAnswer);
    attached.detach(reason === 'client namespace disconnect');
  });
}

/** A client that floods its link is cut off. (2) */
function limitPackets(conn: { on(event: 'packet', listener: () => void): void; close(discard: boolean): void }): void {
  let count = 0;
  let since = performance.now();
  conn.on('packet', () => {
    if (performance.now() - since > PACKETS_WINDOW_MS) [count, since] = [0, performance.now()];
    if (++count > PACKETS_MAX) conn.close(true);
  });
}

/** The answer keeps the headers that the guards have set (CORS, security). */
function handOver(io: UserServer, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const headers = reply.getHeaders();
  reply.hijack();
  // A WebSocket's first request reaches its own listener; should another one route it here as well, that changes nothing.
  if (request.headers.upgrade !== undefined) return reply;
  for (const [name, value] of Object.entries(headers)) if (value !== undefined) reply.raw.setHeader(name, value);
  io.engine.handleRequest(request.raw, reply.raw);
  return reply;
}

/** (4), (5). Programs that are no browsers send no origin. */
function refusalOf(request: OriginOf, { allowedOrigins }: SocketIoOptions, links: number): { readonly status: number; readonly why: string } | undefined {
  if (request.headers.origin !== undefined && allowedOrigins !== '*' && !originAllowed(request, allowedOrigins)) return { status: 403, why: 'Forbidden' };
  return links >= LINKS_MAX ? { status: 503, why: 'Service Unavailable' } : undefined;
}

function pathOf(url: string): string {
  const path = url.split('?')[0] ?? '';
  return path.endsWith('/') ? path : `${path}/`;
}

async function closed(links: ReadonlySet<Duplex>, timeoutMs: number): Promise<void> {
  if (links.size === 0) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, timeoutMs);
  for (const link of links) link.once('close', () => void (links.size === 0 && resolve()));
  await promise;
  clearTimeout(timer);
}
