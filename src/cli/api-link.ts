/** The way to the control plane over HTTP with the node's token (`--mode=api`): no credentials of Redis on the node. */
import { randomBytes } from 'node:crypto';
import { createApiCaller } from '../agent/api-call.ts';
import { ApiClient } from '../agent/api-client.ts';
import { createApiJobTransport } from '../agent/api-job-transport.ts';
import { apiPublisher } from '../agent/api-publisher.ts';
import { systemClock } from '../agent/clock.ts';
import { apiConfigSource } from '../agent/config-source-api.ts';
import { backoffDelayMs } from '../agent/schedule.ts';
import type { WorkerConfigAnswer } from '../protocol/fabric-redis.ts';
import { QUEUE_NAME } from '../protocol/job-progress.ts';
import { isInTheClear } from './api-url.ts';
import type { EnrolledNode } from '../agent/enrolled-node.ts';
import type { NodeLink } from './node-link.ts';
import type { Logger } from 'pino';

const WORKER_CONFIG = '/api/fabric/worker-config';
/** Between tries to hear which queues there are. */
const CONFIG_RETRY_MS_MAX = 15_000;

/** A tag that a person gives the node opens its queue; nobody tells the node, so it asks. */
const CONFIG_REFRESH_MS = 60_000;

export interface ApiLinkOptions {
  readonly url: URL;
  readonly nodeId: string;
  readonly node: EnrolledNode;
  readonly intervalMs: number;
  readonly log: Logger;
}

export function apiLink({ url, nodeId, node, intervalMs, log }: ApiLinkOptions): NodeLink {
  if (isInTheClear(url)) log.warn({ controlPlane: url.origin }, 'The token of this node crosses the network in the clear. Use https there.');
  const clock = systemClock();
  const client = new ApiClient({ api: createApiCaller(url), token: async () => await node.token(), clock, log });
  const closed = new AbortController();
  let queues: readonly string[] = [];

  const readQueues = async (wanted: readonly string[] | undefined): Promise<void> => {
    const { queue_names: names } = await client.ask<WorkerConfigAnswer>({ method: 'GET', path: WORKER_CONFIG, signal: closed.signal });
    const open = names.filter((name) => QUEUE_NAME.test(name));
    const taken = wanted === undefined ? open : wanted.filter((name) => open.includes(name));
    if (taken.join() === queues.join()) return;
    log.info({ queues: taken, notOpen: wanted?.filter((name) => !open.includes(name)) }, 'The control plane says which queues are open to this node');
    queues = taken;
  };
  const refresh = async (wanted: readonly string[] | undefined): Promise<void> => {
    while (!closed.signal.aborted) {
      await clock.sleep(CONFIG_REFRESH_MS, closed.signal);
      if (!closed.signal.aborted) await readQueues(wanted).catch(() => undefined);
    }
  };

  return {
    name: client.url,
    publisher: () => apiPublisher({ client, intervalMs, onRedeemed: () => node.redeemed(), log }),
    jobTransport: () => {
      const unique = `${process.pid}-${randomBytes(4).toString('hex')}`;
      return createApiJobTransport({ client, nodeId, unique, queues: () => queues, clock, log });
    },
    async queues(wanted, signal) {
      for (let attempt = 1; !signal.aborted; attempt++) {
        const reason = await readQueues(wanted).then(
          () => (queues.length > 0 ? undefined : 'none of them is open to this node'),
          (error: Error) => error.message,
        );
        if (reason === undefined) {
          void refresh(wanted);
          return queues;
        }
        log.debug({ reason }, 'There are no queues to take jobs from yet');
        await clock.sleep(backoffDelayMs(attempt, CONFIG_RETRY_MS_MAX, clock.random()), signal);
      }
      return undefined;
    },
    configSource: () => apiConfigSource({ client, nodeId, log }),
    close: async () => {
      closed.abort();
      client.close();
    },
  };
}
