/**
 * What a node without Redis credentials may have done for it in Redis (contracts 7): the port behind `/api/fabric/redis/*`, and the
 * bodies of those routes as agents write and read them.
 *
 * 1. Who may do what is decided before this port is called (src/http/fabric); the port itself checks only who holds an entry, because only
 *    Redis knows that at the moment of the write.
 * 2. A consumer is named by the server: `castellan:<node>:<its own part>` for workers of ours, `fabric:<node>:<its own part>` for any
 *    other program. The first report to `job:reports`; the second are observed from outside, as any consumer that knows only the contract.
 * 3. A read whose answer was lost has given entries away that nobody has seen. A client that names in `held` the entries that it has in
 *    hand is given the others of its consumer's pending entries again, before new ones. One that names none is given new ones only.
 */

/** `POST …/jobs/consume`. Count and blockMs beyond the bounds are cut to them. */
export interface FabricConsumeBody {
  readonly queue: string;
  /** Beside `queue`: further queues of the same group, answered in one list. */
  readonly queues?: readonly string[];
  readonly group: string;
  readonly consumer: string;
  /** 0: nothing is taken; the group notes that the consumer lives. */
  readonly count?: number;
  readonly blockMs?: number;
  /** Ids of the entries of these queues that this consumer has in hand. (3) */
  readonly held?: readonly string[];
}
export interface FabricMessage {
  readonly id: string;
  readonly queue: string;
  readonly data: { readonly [field: string]: string };
}
export interface FabricConsumeAnswer {
  readonly messages: readonly FabricMessage[];
}

/** `POST …/jobs/acknowledge`. */
export interface FabricAcknowledgeBody {
  readonly queue: string;
  readonly group: string;
  readonly messageId: string;
}

/**
 * `POST …/streams/add`, to `node:status:stream`, `device:reports`, and for a job in hand `job:reports` (`{jobId, progress}`, also told on
 * the job's channel) or `stream:v1:{jobId}` (its log). `redeemed`: the entry carried the device code and is stored; it need not be sent again.
 */
export interface FabricAddBody {
  readonly stream: string;
  readonly values: { readonly [field: string]: string };
  readonly maxLen?: number;
  readonly approx?: boolean;
}
export interface FabricAddAnswer {
  readonly success: true;
  readonly messageId: string;
  readonly redeemed?: true;
}

/** `GET /api/fabric/worker-config`; the last three are ours. */
export interface WorkerConfigAnswer {
  readonly queue: string;
  readonly queue_names: readonly string[];
  readonly consumer_group: string;
  readonly org_id: string;
  readonly node_id: string;
  readonly config_queue: string;
  readonly config_group: string;
}

/** An answer with status 429. */
export interface FabricLimitAnswer {
  readonly error: 'rate_limited';
  readonly limit: number;
  /** Seconds. */
  readonly window: number;
  /** Seconds. */
  readonly retry_after: number;
  /** RFC 3339. */
  readonly reset_at: string;
}

/** A job's entry in the hands of a consumer of the node. */
export interface HeldEntryOfNode {
  readonly queue: string;
  readonly group: string;
  readonly entryId: string;
  readonly jobId: string;
  readonly consumer: string;
  /** As it lies in the stream. */
  readonly fields: readonly string[];
}

export interface FabricConsume {
  readonly nodeId: string;
  readonly queues: readonly string[];
  readonly group: string;
  readonly consumer: string;
  readonly count: number;
  readonly blockMs: number;
  readonly held?: readonly string[];
  readonly signal: AbortSignal;
}

/** What is told of a job in hand. */
export interface JobTelling {
  /** JSON of the progress message. */
  readonly text: string;
  /** `report`: to `job:reports` and the job's channel; `log`: to the job's stream; `channel`: to its channel alone. */
  readonly to: 'report' | 'log' | 'channel';
}

export type Acknowledgement = 'acknowledged' | 'not-pending' | 'held-by-another';

/** Throws RedisUnusableError. */
export interface FabricRedis {
  ping(): Promise<void>;
  publish(channel: string, message: string): Promise<void>;
  /** Appends to a stream that the engine reads, and rings for it. Answers the entry's id. */
  add(stream: string, fields: readonly string[], maxLength?: number): Promise<string>;
  /** Entries for this node or for any; one for another node is left pending for it. Empty at the end of `blockMs` or with the signal. */
  consume(request: FabricConsume): Promise<readonly FabricMessage[]>;
  /** The entry of this job, if a consumer of the node has it now. */
  held(nodeId: string, jobId: string): Promise<HeldEntryOfNode | undefined>;
  /** The entry's id, or the empty text for a channel; undefined: the node has the job no more, and nothing was told. */
  tell(nodeId: string, held: HeldEntryOfNode, telling: JobTelling): Promise<string | undefined>;
  acknowledge(nodeId: string, queue: string, group: string, entryId: string): Promise<Acknowledgement>;
  /** `ttl` as Redis says it: seconds, -1 without end, -2 for a key that is not there. */
  get(key: string): Promise<{ readonly value: string | null; readonly ttl: number }>;
  set(key: string, value: string, ttlS: number): Promise<void>;
  delete(key: string): Promise<boolean>;
  close(): Promise<void>;
}

/** The name of a node's consumer. (2) */
export function fabricConsumer(nodeId: string, asked: string): string {
  const kind = asked.startsWith('castellan:') ? 'castellan' : 'fabric';
  const own = (asked.split(':').at(-1) ?? '').replaceAll(/[^A-Za-z0-9._-]/g, '').slice(-CONSUMER_PART_MAX);
  return `${kind}:${nodeId}:${own === '' ? 'api' : own}`;
}

/** Longer than a process's id with its random part. */
const CONSUMER_PART_MAX = 64;
