/** Stands between one client and Redis and answers a named call itself, with an error: the call does not reach Redis, those behind it do. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { calledFunction, valueEnd } from './resp.ts';

export class RefusingProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #refusal: { readonly functionName: string; readonly error: string } | undefined;

  private constructor(redisPort: number) {
    this.#server = createServer((client) => this.#connected(client, connect(redisPort, '127.0.0.1')));
  }

  static async listen(redisPort: number): Promise<RefusingProxy> {
    const proxy = new RefusingProxy(redisPort);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}/0`;
  }

  /** The next such call is refused; nothing may be awaiting its reply then, for the refusal is written at once. */
  refuseNext(functionName: string, error: string): void {
    this.#refusal = { functionName, error };
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #connected(client: Socket, redis: Socket): void {
    for (const socket of [client, redis]) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        client.destroy();
        redis.destroy();
      });
    }
    redis.on('data', (chunk: Buffer) => client.write(chunk));
    let rest: Buffer = Buffer.alloc(0);
    client.on('data', (chunk: Buffer) => {
      const buffer = Buffer.concat([rest, chunk]);
      let passed = 0;
      for (let end = valueEnd(buffer, 0); end > 0; end = passed < buffer.length ? valueEnd(buffer, passed) : -1) {
        if (this.#refusal !== undefined && calledFunction(buffer, passed, end) === this.#refusal.functionName) {
          client.write(`-${this.#refusal.error}\r\n`);
          this.#refusal = undefined;
        } else {
          redis.write(buffer.subarray(passed, end));
        }
        passed = end;
      }
      rest = buffer.subarray(passed);
    });
  }
}
