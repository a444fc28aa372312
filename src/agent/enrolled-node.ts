/**
 * Who this node is to its control plane, as enrolment left it, while an agent runs.
 *
 * 1. Credentials of another node are not this one's: they are as if they were not there.
 * 2. A node that is enrolled again while its agent runs goes on with the new credentials as soon as the old token is refused.
 * 3. A device code that was redeemed is not sent again, by this process nor by the next.
 */
import { forgetDeviceCode, readCredentials, type Credentials } from './credentials.ts';

export interface EnrolledNodeOptions {
  readonly folder: string;
  readonly nodeId: string;
  /** As they were read at the start. */
  readonly credentials: Credentials | undefined;
  /** A code from elsewhere, which wins over that of the credentials. */
  readonly deviceCode?: string;
  readonly warn: (message: string) => void;
}

export class EnrolledNode {
  readonly #options: EnrolledNodeOptions;
  readonly #listeners: ((deviceCode: string | undefined) => void)[] = [];
  #credentials: Credentials | undefined;
  #deviceCode: string | undefined;

  constructor(options: EnrolledNodeOptions) {
    const { credentials, nodeId, deviceCode } = options;
    this.#options = options;
    this.#credentials = credentials?.nodeId === nodeId ? credentials : undefined; // (1)
    this.#deviceCode = deviceCode ?? this.#credentials?.deviceCode;
  }

  /** Undefined for a node that was never enrolled. */
  get credentials(): Credentials | undefined {
    return this.#credentials;
  }

  /** To be sent with each status. */
  get deviceCode(): string | undefined {
    return this.#deviceCode;
  }

  /** Tells each new {@link deviceCode}. */
  onDeviceCode(told: (deviceCode: string | undefined) => void): void {
    this.#listeners.push(told);
  }

  /** The token of the day. (2) */
  async token(): Promise<string> {
    const { folder, warn } = this.#options;
    const before = this.#credentials;
    const found = await readCredentials(folder, warn).catch(() => undefined);
    if (before !== undefined && found?.nodeId === before.nodeId && found.apiUrl === before.apiUrl) {
      this.#credentials = found;
      if (found.deviceId !== before.deviceId) this.#setDeviceCode(found.deviceCode);
    }
    return this.#credentials?.token ?? '';
  }

  /** The control plane knows whose code it was. (3) */
  redeemed(): void {
    const code = this.#deviceCode;
    if (code === undefined) return;
    this.#setDeviceCode(undefined);
    const { folder, warn } = this.#options;
    forgetDeviceCode(folder, code, warn).catch((error: Error) => warn(`The redeemed device code could not be removed from the credentials: ${error.message}`));
  }

  #setDeviceCode(deviceCode: string | undefined): void {
    this.#deviceCode = deviceCode;
    for (const told of this.#listeners) told(deviceCode);
  }
}
