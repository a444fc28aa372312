/** Starts the server over the fake control plane, and makes tokens for its callers. */
import { onTestFinished } from 'vitest';
import { issueToken, type TokenKeys } from '../../src/http/auth/tokens.ts';
import type { Role } from '../../src/http/auth/principal.ts';
import { createHttpServer, type HttpServer, type HttpServerOptions } from '../../src/http/server.ts';
import { DEFAULT_LIVE_NETWORKS, type HttpSettings } from '../../src/http/settings.ts';
import { createFakeControlPlane, type FakeControlPlane } from './fake-control-plane.ts';

export const SECRET = new TextEncoder().encode('a secret of the test, thirty-two bytes or more');

export interface Fixture extends HttpServer {
  readonly fake: FakeControlPlane;
  token(role: Role, org?: string): Promise<string>;
  bearer(role: Role, org?: string): Promise<{ authorization: string }>;
  /** Listens on a free loopback port and gives the base URL. */
  listen(): Promise<string>;
}

export type FixtureOptions = Partial<Omit<HttpServerOptions, 'settings'>> & { readonly settings?: Partial<HttpSettings>; readonly tokenKeys?: TokenKeys };

export async function startFixture({ settings, ...options }: FixtureOptions = {}): Promise<Fixture> {
  const fake = createFakeControlPlane();
  const now = options.now ?? Date.now;
  const server = await createHttpServer({
    controlPlane: fake,
    tokenKeys: { kind: 'secret', secret: SECRET, strict: true },
    ownSecret: SECRET,
    version: '0.0.0-test',
    ...options,
    settings: { corsOrigins: [], liveNetworks: DEFAULT_LIVE_NETWORKS, requestsPerMinute: 100_000, ...settings },
  });
  onTestFinished(() => server.app.close());
  const token = async (role: Role, org?: string) =>
    await issueToken(SECRET, { subject: `${role}-user`, role, lifetimeMs: 3_600_000, ...(org === undefined ? {} : { org }) }, now);
  return {
    ...server,
    fake,
    token,
    bearer: async (role, org) => ({ authorization: `Bearer ${await token(role, org)}` }),
    listen: async () => await server.app.listen({ host: '127.0.0.1', port: 0 }),
  };
}
