/**
 * Events for a person's sockets: a bounded stream for each user, kept for a day, and the position up to which some socket of that user has them.
 *
 * 1. What reached no socket waits, and goes once to the next one. A socket that names a cursor gets exactly what came after it.
 * 2. Several processes serve sockets of one user: each serves its own, and all of them move one stored position, which never goes back.
 */
import type { JsonObject } from './json.ts';

/** Events of one user that are kept: a client that missed more reads the state instead. */
export const USER_EVENTS_LENGTH = 1_000;
/** How long an event waits for a socket, ms. */
export const USER_EVENTS_KEPT_MS = 86_400_000;
/** A user's name, as a token's claim or an agent's message gives it. Characters. */
export const USER_ID_LENGTH_MAX = 256;

export interface UserEvent {
  /** Position in the user's events, `<ms>-<sequence>`. */
  readonly cursor: string;
  /** Such as `rebalance:done`. */
  readonly name: string;
  readonly data: JsonObject;
}

export type Beginning =
  /** Read from here on. */
  | { readonly kind: 'from'; readonly cursor: string }
  /** Another socket is being given what waited: ask again at the next ring, or after so long. `newest`: what comes after it is this socket's too. */
  | { readonly kind: 'wait'; readonly ms: number; readonly newest: string }
  /** The cursor is older than what is kept, or was never given out. */
  | { readonly kind: 'gone' };

export interface SocketOfUser {
  readonly userId: string;
  readonly socket: string;
}

export interface UserEvents {
  /** Tells of users with new events; null: any user may have some, because the link was broken. Rings may be lost only together with a null. */
  listen(ring: (userId: string | null) => void): Promise<void>;
  close(): Promise<void>;
  /** Where a new socket begins. Without a cursor it is given what waits, and alone, until it has it or ends. */
  begin(of: SocketOfUser, cursor?: string): Promise<Beginning>;
  /** Oldest first. */
  read(userId: string, after: string, count: number): Promise<readonly UserEvent[]>;
  /** The socket has everything up to the cursor. */
  reached(of: SocketOfUser, cursor: string): Promise<void>;
  /** The sockets live: say so at least every {@link SOCKET_SEEN_MS}. */
  present(sockets: readonly SocketOfUser[]): Promise<void>;
  end(of: SocketOfUser): Promise<void>;
}

/** A socket that was not said to live for so long is not counted any more: its process is gone. */
export const SOCKET_SEEN_MS = 60_000;
