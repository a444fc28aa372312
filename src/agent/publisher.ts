/** Where statuses go: a port with one implementation per way to the control plane. */
import type { StatusMessage } from './status.ts';

export interface Publisher {
  /** Resolves when the status is stored. Rejects when that is not known; sending it again is harmless, for readers keep the newest. */
  publish(message: StatusMessage): Promise<void>;
  /** Calls back each time the way is open again after it was not. */
  onReady(listener: () => void): void;
  /** Idempotent; a publish under way rejects. */
  close(): Promise<void>;
}
