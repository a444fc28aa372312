/** Stands between a client and Redis; keeps the answers back, and cuts the links with what it kept. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export class HoldingProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #holding = false;

  private constructor(redisPort: number) {
    this.#server = createServer((client) => {
      const redis = connect(redisPort, '127.0.0.1');
      for (const [socket, other] of [
        [client, redis],
        [redis, client],
      ] as const) {
        this.#sockets.add(socket);
        socket.on('error', () => undefined);
        socket.on('close', () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
      }
      client.on('data', (chunk: Buffer) => void redis.write(chunk));
      redis.on('data', (chunk: Buffer) => void (this.#holding || client.write(chunk)));
    });
  }

  static async listen(redisPort: number): Promise<HoldingProxy> {
    const proxy = new HoldingProxy(redisPort);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}/0`;
  }

  /** From now on commands arrive and answers do not. */
  holdAnswers(): void {
    this.#holding = true;
  }

  /** Every link breaks, and with it what was held; new ones work. */
  cut(): void {
    this.#holding = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}
