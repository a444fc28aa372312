/**
 * Gives each user's events to that user's sockets in this process. Knows no transport: socket-io.ts does.
 *
 * 1. A socket gets each event once, in order, from where it began. Several processes serve a user's sockets; each serves its own.
 * 2. An event has reached a socket when that socket answered something sent after it. Until then it counts as waiting, so that what was
 *    written into a link which is dead already goes to the next socket.
 * 3. At most {@link WINDOW} events are on their way to a socket: one that does not read holds no more than that, and is dropped after
 *    {@link STALL_MS}. It loses nothing: what it did not answer waits for it.
 * 4. A socket that its client closes in order has what it was sent a round trip before, although a client that closes answers no more: had the
 *    event come after the goodbye was sent, less time would have passed. What may have crossed the goodbye is told again rather than lost.
 */
import { compareEntryIds } from '../../protocol/ids.ts';
import type { SocketOfUser, UserEvent, UserEvents } from '../../protocol/user-events.ts';

/** Of some hundred bytes each, and 64 KiB at most. */
const WINDOW = 64;
const BATCH = 100;
/** Longer than any round trip of a link that works; less than the transport's own patience. */
const STALL_MS = 20_000;
/** A round trip is the shortest of at least so many. (4) */
const SAMPLES = 4;
/** How often sockets are said to live, and looked at whether they answer. */
const ROUND_MS = 10_000;
/** After Redis did not answer. */
const AGAIN_MS = 1_000;

/** One connection to a user's program. */
export interface UserSocket {
  readonly id: string;
  send(event: UserEvent): void;
  /** Sends something that the other end answers in its turn: each is told to {@link Attached.probed}, each answer to {@link Attached.answered}. */
  probe(): void;
  /** Cuts the link; its end is told as any other. */
  drop(why: string): void;
}

export interface Attached {
  probed(): void;
  answered(): void;
  /** `orderly`: the client said goodbye. */
  detach(orderly: boolean): void;
}

export interface UserDelivery {
  attach(userId: string, socket: UserSocket, cursor: string | undefined): Attached;
  /** There may be events for the user; null: for any. */
  ring(userId: string | null): void;
  /** Sockets of the user in this process. */
  count(userId: string): number;
  readonly total: number;
  /** Resolves when all that was begun for ended sockets is stored. */
  close(): Promise<void>;
}

export interface UserDeliveryOptions {
  readonly events: UserEvents;
  /** Monotonic, ms. */
  readonly clock: () => number;
  readonly onError: (error: unknown) => void;
}

interface Sent {
  readonly cursor: string;
  readonly at: number;
}

interface Member {
  readonly of: SocketOfUser;
  readonly socket: UserSocket;
  /** Null: it has not begun yet. */
  position: string | null;
  readonly cursor: string | undefined;
  /** The newest event when it came and had to wait: what was told later is told to it too, whoever else has it by then. */
  since: string | undefined;
  /** Sent and not answered, oldest first. (3) */
  underWay: Sent[];
  /** What had been sent when each probe left that is not answered yet. */
  readonly probes: { readonly position: string | null; readonly at: number }[];
  /** Of as many answers as were heard. */
  roundTripMs: number;
  answers: number;
  ended: boolean;
}

interface User {
  readonly members: Map<string, Member>;
  pumping: boolean;
  again: boolean;
}

export function userDelivery(options: UserDeliveryOptions): UserDelivery {
  return new Delivery(options);
}

class Delivery implements UserDelivery {
  readonly #events: UserEvents;
  readonly #clock: () => number;
  readonly #onError: (error: unknown) => void;
  readonly #users = new Map<string, User>();
  readonly #storing = new Set<Promise<void>>();
  readonly #round: NodeJS.Timeout;
  readonly #timers = new Set<NodeJS.Timeout>();
  #total = 0;

  constructor({ events, clock, onError }: UserDeliveryOptions) {
    this.#events = events;
    this.#clock = clock;
    this.#onError = onError;
    this.#round = setInterval(() => this.#lookAround(), ROUND_MS);
  }

  get total(): number {
    return this.#total;
  }

  count(userId: string): number {
    return this.#users.get(userId)?.members.size ?? 0;
  }

  ring(userId: string | null): void {
    if (userId === null) for (const each of this.#users.keys()) this.#pump(each);
    else this.#pump(userId);
  }

  attach(userId: string, socket: UserSocket, cursor: string | undefined): Attached {
    const user = this.#users.get(userId) ?? { members: new Map<string, Member>(), pumping: false, again: false };
    this.#users.set(userId, user);
    const of = { userId, socket: socket.id };
    const member: Member = {
      of,
      socket,
      position: null,
      cursor,
      since: undefined,
      underWay: [],
      probes: [],
      roundTripMs: Number.POSITIVE_INFINITY,
      answers: 0,
      ended: false,
    };
    user.members.set(socket.id, member);
    this.#total++;
    this.#pump(userId);
    return {
      probed: () => void member.probes.push({ position: member.position, at: this.#clock() }),
      answered: () => this.#answered(member),
      detach: (orderly) => this.#detach(member, orderly),
    };
  }

  async close(): Promise<void> {
    clearInterval(this.#round);
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.all(this.#storing);
  }

  /** One at a time for each user; a ring meanwhile starts another round. */
  #pump(userId: string): void {
    const user = this.#users.get(userId);
    if (user === undefined) return;
    if (user.pumping) {
      user.again = true;
      return;
    }
    user.pumping = true;
    user.again = false;
    void this.#deliver(userId, user)
      .catch((error: unknown) => {
        this.#onError(error);
        this.#pumpLater(userId, AGAIN_MS);
      })
      .finally(() => {
        user.pumping = false;
        if (user.again) this.#pump(userId);
      });
  }

  #pumpLater(userId: string, ms: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#pump(userId);
    }, ms);
    this.#timers.add(timer);
  }

  async #deliver(userId: string, user: User): Promise<void> {
    for (const member of user.members.values()) if (member.position === null) await this.#begin(userId, member);
    for (;;) {
      const ready = [...user.members.values()].filter(isReady);
      const first = ready[0];
      if (first === undefined) return;
      const after = ready.reduce((lowest, { position }) => (compareEntryIds(position, lowest) < 0 ? position : lowest), first.position);
      const batch = await this.#events.read(userId, after, BATCH);
      if (batch.length === 0) return;
      for (const event of batch) for (const member of ready) this.#send(member, event);
      for (const member of ready) if (member.probes.length === 0 && member.underWay.length > 0 && !member.ended) member.socket.probe();
    }
  }

  async #begin(userId: string, member: Member): Promise<void> {
    const beginning = await this.#events.begin(member.of, member.cursor);
    if (member.ended) return this.#store(this.#events.end(member.of)); // It ended meanwhile, perhaps before it was noted.
    if (beginning.kind === 'from') member.position = earlier(beginning.cursor, member.since);
    else if (beginning.kind === 'wait') {
      member.since ??= beginning.newest;
      this.#pumpLater(userId, beginning.ms + 1);
    } else member.socket.drop('the cursor is not held any more');
    if (beginning.kind === 'from') member.socket.probe(); // measures the round trip (4)
  }

  #send(member: Member, event: UserEvent): void {
    if (!isReady(member) || compareEntryIds(event.cursor, member.position) <= 0) return;
    member.position = event.cursor;
    member.underWay.push({ cursor: event.cursor, at: this.#clock() });
    member.socket.send(event);
  }

  /** Answers come in the order of the probes. (2) */
  #answered(member: Member): void {
    const probe = member.probes.shift();
    if (probe === undefined || member.ended) return;
    member.roundTripMs = Math.min(member.roundTripMs, this.#clock() - probe.at);
    member.answers++;
    if (probe.position === null) return;
    const { position } = probe;
    const wasFull = member.underWay.length >= WINDOW;
    const had = member.underWay.length;
    member.underWay = member.underWay.filter(({ cursor }) => compareEntryIds(cursor, position) > 0);
    if (member.underWay.length < had) this.#store(this.#events.reached(member.of, position));
    if ((member.underWay.length > 0 || member.answers < SAMPLES) && member.probes.length === 0) member.socket.probe();
    if (wasFull) this.#pump(member.of.userId);
  }

  #detach(member: Member, orderly: boolean): void {
    if (member.ended) return;
    member.ended = true;
    const { userId, socket } = member.of;
    const user = this.#users.get(userId);
    user?.members.delete(socket);
    if (user?.members.size === 0) this.#users.delete(userId);
    this.#total--;
    const taken = orderly ? member.underWay.findLast(({ at }) => at <= this.#clock() - member.roundTripMs) : undefined; // (4)
    this.#store(
      (async () => {
        if (taken !== undefined) await this.#events.reached(member.of, taken.cursor);
        await this.#events.end(member.of);
      })(),
    );
  }

  #lookAround(): void {
    const sockets: SocketOfUser[] = [];
    const late = this.#clock() - STALL_MS;
    for (const { members } of this.#users.values()) {
      for (const member of members.values()) {
        sockets.push(member.of);
        if (member.underWay[0] !== undefined && member.underWay[0].at < late) member.socket.drop('it does not read'); // (3)
      }
    }
    if (sockets.length > 0) this.#store(this.#events.present(sockets));
  }

  /** What fails here is said again: presence with the next round, a position with the next answer; else an event is told twice, not lost. */
  #store(storing: Promise<void>): void {
    const settled = storing.catch(this.#onError).finally(() => this.#storing.delete(settled));
    this.#storing.add(settled);
  }
}

function isReady(member: Member): member is Member & { position: string } {
  return !member.ended && member.position !== null && member.underWay.length < WINDOW;
}

function earlier(cursor: string, since: string | undefined): string {
  return since !== undefined && compareEntryIds(since, cursor) < 0 ? since : cursor;
}
