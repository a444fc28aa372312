/**
 * Publishes statuses through the control plane: the stream first, then the node's channel.
 *
 * 1. The stream entry is the status; the channel message is a courtesy, and its failure is none.
 * 2. A device code is a bearer secret: it goes into the stream's entry, never onto the channel. Once the control plane has redeemed it,
 *    it says so in its answer.
 */
import type { FabricAddAnswer, FabricAddBody } from '../protocol/fabric-redis.ts';
import { connectionTimings } from './schedule.ts';
import { STATUS_STREAM, STATUS_STREAM_LENGTH, statusChannel, type StatusMessage } from './status.ts';
import type { ApiClient } from './api-client.ts';
import type { Publisher } from './publisher.ts';
import type { Logger } from 'pino';

export const STREAMS_ADD = '/api/fabric/redis/streams/add';
export const PUBSUB_PUBLISH = '/api/fabric/redis/pubsub/publish';

export interface ApiPublisherOptions {
  readonly client: ApiClient;
  readonly intervalMs: number;
  /** Told the code that need not be sent again. */
  readonly onRedeemed: (deviceCode: string) => void;
  readonly log: Logger;
}

/** The client is not closed with it: jobs and configurations use it too. */
export function apiPublisher({ client, intervalMs, onRedeemed, log }: ApiPublisherOptions): Publisher {
  const timeoutMs = connectionTimings(intervalMs).commandTimeoutMs;
  const closed = new AbortController();
  return {
    async publish(message) {
      const { nodeId, timestamp, deviceCode } = message;
      const values = { nodeId, timestamp, payload: JSON.stringify(message), ...(deviceCode === undefined ? {} : { deviceCode }) };
      const body: FabricAddBody = { stream: STATUS_STREAM, values, maxLen: STATUS_STREAM_LENGTH, approx: true };
      const { redeemed } = await client.post<Partial<FabricAddAnswer>>(STREAMS_ADD, body, { timeoutMs, signal: closed.signal });
      if (redeemed === true && deviceCode !== undefined) onRedeemed(deviceCode);
      await tell(message).catch((error: Error) => {
        log.debug({ reason: error.message }, 'The status is in the stream, but was not announced on the channel'); // (1)
      });
    },
    onReady: (listener) => client.onOpen(listener),
    async close() {
      closed.abort();
    },
  };

  async function tell(message: StatusMessage): Promise<void> {
    const announced = JSON.stringify({ ...message, deviceCode: undefined }); // (2)
    await client.post(PUBSUB_PUBLISH, { channel: statusChannel(message.nodeId), message: announced }, { timeoutMs, signal: closed.signal });
  }
}
