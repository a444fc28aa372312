/**
 * Stands between one engine process and Redis, knows the calls that pass, and kills the process on either side of a named one.
 *
 * 1. `before`: the call does not reach Redis. `after`: Redis has executed it, and its reply does not reach the engine.
 * 2. From the kill on nothing passes in either direction: what the engine had sent behind that call is lost, as in a crash.
 * 3. Calls and replies of one connection are matched by their order, which holds for every connection that makes calls.
 */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { calledFunction, valueEnd } from './resp.ts';

export interface KillPoint {
  readonly functionName: string;
  readonly side: 'before' | 'after';
  /** So many calls of that name pass first. */
  readonly skip: number;
}

interface Armed {
  readonly point: KillPoint;
  toPass: number;
  readonly hit: () => void;
}

/** What is known of a call on its way: its name, and whether its reply is the last thing that happens. */
interface Call {
  readonly name: string | undefined;
  readonly fatal: boolean;
}

const ACQUIRED = '*2\r\n:1\r\n';

export class KillProxy {
  readonly #server: Server;
  readonly #redisPort: number;
  readonly #kill: () => void;
  readonly #sockets = new Set<Socket>();
  #armed: Armed | undefined;
  #dead = false;
  #tellAcquired: () => void = () => undefined;
  /** Resolves when Redis has given the engine its first partition. */
  readonly acquired = new Promise<void>((resolve) => (this.#tellAcquired = resolve));

  private constructor(redisPort: number, kill: () => void) {
    this.#redisPort = redisPort;
    this.#kill = kill;
    this.#server = createServer((client) => this.#connected(client));
  }

  static async listen(redisPort: number, kill: () => void): Promise<KillProxy> {
    const proxy = new KillProxy(redisPort, kill);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}/0`;
  }

  /** Resolves when the process was killed at that point. */
  async killAt(point: KillPoint): Promise<void> {
    await new Promise<void>((hit) => (this.#armed = { point, toPass: point.skip, hit }));
  }

  disarm(): void {
    this.#armed = undefined;
  }

  close(): void {
    this.#dead = true;
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #connected(client: Socket): void {
    const redis = connect(this.#redisPort, '127.0.0.1');
    const calls: Call[] = [];
    for (const [socket, other] of [
      [client, redis],
      [redis, client],
    ] as const) {
      socket.setNoDelay(true);
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    let doomed = false;
    this.#frames(client, redis, (buffer, start, end) => {
      if (doomed) return 'stop';
      const name = calledFunction(buffer, start, end);
      const fatal = name !== undefined && this.#reached(name);
      if (fatal && this.#armed?.point.side === 'before') return this.#execute();
      doomed = fatal;
      calls.push({ name, fatal });
      return 'pass';
    });
    this.#frames(redis, client, (buffer, start, end) => {
      const call = calls.shift();
      if (call?.fatal === true) return this.#execute();
      if (call?.name === 'acquire' && buffer.toString('latin1', start, Math.min(end, start + ACQUIRED.length)) === ACQUIRED) this.#tellAcquired();
      return 'pass';
    });
  }

  /** Passes whole values on, until one says stop. */
  #frames(from: Socket, to: Socket, look: (buffer: Buffer, start: number, end: number) => 'pass' | 'stop'): void {
    let rest: Buffer = Buffer.alloc(0);
    from.on('data', (chunk: Buffer) => {
      if (this.#dead) return;
      const buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      let passed = 0;
      for (let end = valueEnd(buffer, 0); end > 0; end = valueEnd(buffer, passed)) {
        if (look(buffer, passed, end) === 'stop') {
          if (!this.#dead && passed > 0) to.write(buffer.subarray(0, passed));
          rest = Buffer.alloc(0);
          return;
        }
        passed = end;
        if (passed === buffer.length) break;
      }
      if (passed > 0) to.write(buffer.subarray(0, passed));
      rest = buffer.subarray(passed);
    });
  }

  #reached(name: string): boolean {
    if (this.#armed?.point.functionName !== name) return false;
    return this.#armed.toPass-- === 0;
  }

  #execute(): 'stop' {
    const hit = this.#armed?.hit;
    this.#armed = undefined;
    this.#kill();
    this.close();
    hit?.();
    return 'stop';
  }
}
