/**
 * Whom a device token speaks for.
 *
 * 1. What was found is believed for a few seconds, so that a request costs no look; a revocation that is told ends that at once.
 * 2. A told revocation may be missed while the link to Redis is away: when it is back, all that were believed lately are looked at again.
 */
import { hashOf } from '../provisioning/device-code.ts';
import type { Clock } from '../engine/ports.ts';
import type { DevicePrincipal } from '../protocol/device.ts';
import type { Enrolment } from '../protocol/enrolment.ts';

const TOKEN = /^cdt_[A-Za-z0-9_-]{43}$/;
const TOKEN_BYTES = 32;
/** A revoked device is out within 5 s, with room for the way. */
const BELIEVED_MS = 3_000;
/** Of devices that are there at the same time; the oldest is forgotten first. */
const KNOWN_MAX = 10_000;

export function makeToken(randomBytes: (count: number) => Buffer): string {
  return `cdt_${randomBytes(TOKEN_BYTES).toString('base64url')}`;
}

interface Believed {
  readonly principal: DevicePrincipal;
  readonly until: number;
}

export class DeviceTokens {
  readonly #enrolment: Enrolment;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #believed = new Map<string, Believed>();
  /** Devices whose tokens were believed here: who may have open sockets. */
  readonly #lately = new Set<string>();
  readonly #listeners = new Set<(deviceId: string) => void>();
  /** Grows with each revocation: a look that began before one is not believed. */
  #revocations = 0;

  constructor(enrolment: Enrolment, clock: Pick<Clock, 'now'>) {
    this.#enrolment = enrolment;
    this.#clock = clock;
  }

  async start(): Promise<void> {
    await this.#enrolment.listen((deviceId) => (deviceId === null ? void this.#lookAgain() : this.#tell(deviceId)));
  }

  async stop(): Promise<void> {
    await this.#enrolment.close();
  }

  async verify(token: string): Promise<DevicePrincipal | undefined> {
    if (!TOKEN.test(token)) return undefined;
    const hash = hashOf(token);
    const known = this.#believed.get(hash);
    if (known !== undefined && known.until > this.#clock.now()) return known.principal;
    this.#believed.delete(hash);
    const before = this.#revocations;
    const principal = await this.#enrolment.principalOf(hash);
    if (principal === undefined || before !== this.#revocations) return principal;
    this.#believed.set(hash, { principal, until: this.#clock.now() + BELIEVED_MS });
    this.#lately.delete(principal.deviceId);
    this.#lately.add(principal.deviceId);
    forgetOldest(this.#believed);
    forgetOldest(this.#lately);
    return principal;
  }

  onRevoked(told: (deviceId: string) => void): () => void {
    this.#listeners.add(told);
    return () => void this.#listeners.delete(told);
  }

  #tell(deviceId: string): void {
    this.#revocations++;
    for (const [hash, { principal }] of this.#believed) if (principal.deviceId === deviceId) this.#believed.delete(hash);
    this.#lately.delete(deviceId);
    for (const told of this.#listeners) told(deviceId);
  }

  /** Upholds (2). When Redis fails once more, the next time it is back is the next try. */
  async #lookAgain(): Promise<void> {
    this.#revocations++;
    this.#believed.clear();
    const devices = [...this.#lately];
    const alive = await this.#enrolment.haveTokens(devices).catch(() => undefined);
    alive?.forEach((has, index) => {
      if (!has) this.#tell(devices[index] as string);
    });
  }
}

function forgetOldest(known: Map<string, unknown> | Set<string>): void {
  if (known.size > KNOWN_MAX) known.delete(known.keys().next().value as string);
}
