/** Whether a port can be had, and what to say when it cannot. */
import { createServer } from 'node:net';
import { InvalidSettingError } from '../protocol/errors.ts';

/** Why nothing can listen there (an errno code such as EADDRINUSE), or undefined when it can. */
export async function portTrouble(host: string, port: number): Promise<string | undefined> {
  const server = createServer();
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  return await promise;
}

/** Throws InvalidSettingError naming PORT or HOST, before anything else was started. */
export async function requireFreePort(host: string, port: number): Promise<void> {
  const trouble = await portTrouble(host, port);
  if (trouble === undefined) return;
  if (trouble === 'EADDRINUSE') {
    throw new InvalidSettingError(
      'PORT',
      `is ${port}, which another program already uses on ${host}. If that is an earlier "npm start", stop it; or choose another port: PORT=${port + 1} npm start`,
    );
  }
  if (trouble === 'EACCES') throw new InvalidSettingError('PORT', `is ${port}, which this user may not open. Choose one above 1023.`);
  throw new InvalidSettingError('HOST', `is ${host}, on which this machine cannot listen (${trouble}). Use 127.0.0.1 or one of its own addresses.`);
}
