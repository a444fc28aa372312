/**
 * Where configurations of this node come from and reports about them go: a port with one implementation per way to the control plane.
 *
 * 1. What `next` gave and was not acknowledged is given again by the next process of this node.
 * 2. Entries for other nodes are left to them; entries for this one that others hold are taken over.
 * 3. A method that rejects leaves open whether it took effect; repeating it is safe.
 */
import type { ConfigReport } from '../protocol/device-config.ts';
import type { Json, JsonObject } from '../protocol/json.ts';

export interface ConfigDelivery {
  readonly entryId: string;
  readonly jobId: string | null;
  /** From a job that the control plane hands out; other entries have none. */
  readonly attempt?: number;
  readonly content: { readonly kind: 'payload'; readonly payload: Json } | { readonly kind: 'unreadable'; readonly field: string; readonly reason: string };
}

export interface ConfigSource {
  /** Empty when none came within a few seconds, or the signal aborted. */
  next(signal: AbortSignal): Promise<readonly ConfigDelivery[]>;
  /** Resolves when it is stored. `about`: its job is told as well. */
  report(report: ConfigReport, about: ConfigDelivery | undefined): Promise<void>;
  acknowledge(delivery: ConfigDelivery): Promise<void>;
  /** Tells messages of this node's channel, `{type, nodeId, …}`; they may be lost, and may repeat what the stream has. Returns how to stop. */
  onNotice(told: (message: JsonObject) => void): () => void;
  close(): Promise<void>;
}
