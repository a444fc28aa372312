/**
 * Configurations over HTTP with the node's token (contracts 7): what src/agent/config-source-redis.ts is with credentials.
 *
 * 1. The control plane names the consumer after the node, and each request says that nothing is in hand: so what was given and not
 *    acknowledged, to this process or the one before, comes again before anything new.
 * 2. Which entries are this node's the control plane decides, and takes over those that others hold.
 * 3. The report about the device goes first: it is the one that counts. What is refused for good is left, or it would hold up all after it.
 * 4. There is no channel: what it would tell stands in the stream, and the answer to a status says that the device code was redeemed.
 */
import { CONFIG_GROUP, CONFIG_STREAM, DEVICE_REPORTS, type ConfigReport } from '../protocol/device-config.ts';
import type { FabricAcknowledgeBody, FabricAddBody, FabricConsumeAnswer, FabricConsumeBody } from '../protocol/fabric-redis.ts';
import { CONSUMER_PREFIX, JOB_REPORTS } from '../protocol/job-progress.ts';
import { ANSWER_MS_MAX } from './api-call.ts';
import { isFinal, type ApiClient } from './api-client.ts';
import { ACKNOWLEDGE, CONSUME } from './api-job-transport.ts';
import { STREAMS_ADD } from './api-publisher.ts';
import { readDelivery } from './config-delivery.ts';
import { progressOf } from './config-progress.ts';
import type { ConfigDelivery, ConfigSource } from './config-source.ts';
import type { Logger } from 'pino';

/** A lost link is noticed this late at most. */
const BLOCK_MS = 10_000;
const CONSUMER = `${CONSUMER_PREFIX}config`;

export interface ApiConfigSourceOptions {
  readonly client: ApiClient;
  readonly nodeId: string;
  readonly log: Logger;
}

/** The client is not closed with it. */
export function apiConfigSource({ client, nodeId, log }: ApiConfigSourceOptions): ConfigSource {
  const closed = new AbortController();
  const add = async (body: FabricAddBody): Promise<void> => {
    try {
      await client.post(STREAMS_ADD, body, { signal: closed.signal });
    } catch (error) {
      if (!isFinal(error)) throw error;
      log.warn({ stream: body.stream, reason: (error as Error).message }, 'The control plane refused a report about a configuration; it is left'); // (3)
    }
  };
  return {
    async next(signal) {
      if (signal.aborted) return [];
      const body: FabricConsumeBody = { queue: CONFIG_STREAM, group: CONFIG_GROUP, consumer: CONSUMER, count: 1, blockMs: BLOCK_MS, held: [] }; // (1)
      const ended = AbortSignal.any([signal, closed.signal]);
      try {
        const { messages } = await client.post<FabricConsumeAnswer>(CONSUME, body, { timeoutMs: BLOCK_MS + ANSWER_MS_MAX, signal: ended });
        return messages.map(({ id, data }) => readDelivery(id, Object.entries(data).flat()));
      } catch (error) {
        if (ended.aborted) return [];
        throw error;
      }
    },
    async report(report: ConfigReport, about: ConfigDelivery | undefined) {
      await add({ stream: DEVICE_REPORTS, values: { nodeId, report: JSON.stringify(report) } }); // (3)
      const progress = about === undefined ? undefined : progressOf(report, about, { nodeId, worker: CONSUMER });
      if (progress !== undefined) await add({ stream: JOB_REPORTS, values: { jobId: progress.jobId, progress: JSON.stringify(progress) } });
    },
    async acknowledge({ entryId }) {
      const body: FabricAcknowledgeBody = { queue: CONFIG_STREAM, group: CONFIG_GROUP, messageId: entryId };
      await client.post(ACKNOWLEDGE, body, { signal: closed.signal });
    },
    onNotice: () => () => undefined, // (4)
    async close() {
      closed.abort();
    },
  };
}
