/** A control plane that answers as a test says: each request is kept, and answered by the test's own function. */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly token: string | undefined;
  readonly body: { readonly [name: string]: unknown };
}
/** Undefined: the connection is cut without an answer. */
export type Answered = { readonly status?: number; readonly body?: unknown; readonly headers?: { readonly [name: string]: string } } | undefined;

export interface ScriptedApi {
  readonly url: string;
  readonly asked: readonly Asked[];
  close(): Promise<void>;
}

export async function scriptedApi(answer: (asked: Asked, request: IncomingMessage) => Answered | Promise<Answered>, port = 0): Promise<ScriptedApi> {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const part of request.setEncoding('utf8') as AsyncIterable<string>) text += part;
    const question: Asked = {
      method: request.method ?? '',
      path: request.url ?? '',
      token: request.headers.authorization?.replace(/^Bearer /, ''),
      body: text === '' ? {} : (JSON.parse(text) as Asked['body']),
    };
    asked.push(question);
    const answered = await answer(question, request);
    if (answered === undefined) return request.socket.destroy();
    response.writeHead(answered.status ?? 200, { 'content-type': 'application/json', ...answered.headers });
    return response.end(JSON.stringify(answered.body ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
