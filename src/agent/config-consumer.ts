/**
 * Takes configurations from wherever they come, has them applied, tells how that goes, and acknowledges them.
 *
 * 1. An entry is acknowledged when its end is durable on this node's disk and its report is stored; a crash between gives it again,
 *    and the applier answers with what it kept.
 * 2. The same configuration by two ways is applied once: its key is made of what is in it.
 * 3. A message on the channel is a courtesy. Of a node that was enrolled an unsigned one is passed over: the stream has the signed one.
 */
import { createHash } from 'node:crypto';
import { JobError, StoppedError } from '../protocol/errors.ts';
import { CONFIG_JOB_TYPE, type ConfigReport } from '../protocol/device-config.ts';
import { endsWell } from './config-progress.ts';
import { ReportLane } from './config-report-lane.ts';
import { backoffDelayMs } from './schedule.ts';
import { standing } from './apply/apply-report.ts';
import type { Applier } from './apply/applier.ts';
import type { AgentClock } from './clock.ts';
import type { ConfigDelivery, ConfigSource } from './config-source.ts';
import type { AnyJobDefinition, Job } from '../protocol/job-handler.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import type { Logger } from 'pino';

const RETRY_MS_LAST = 5_000;
/** A model server may need hours: an image of 10 GB, then its weights. */
const JOB_TIMEOUT_MS = 6 * 3_600_000;

export interface ConfigConsumerOptions {
  readonly nodeId: string;
  readonly applier: Pick<Applier, 'apply' | 'state'>;
  readonly source: ConfigSource;
  readonly isEnrolled: () => boolean;
  /** The control plane took the device code: it is not to be sent again. */
  readonly onRedeemed: () => void;
  readonly clock: AgentClock;
  readonly log: Logger;
}

export class ConfigConsumer {
  readonly #options: ConfigConsumerOptions;
  readonly #stopped = new AbortController();
  readonly #lane: ReportLane;
  /** By key: whom to tell of an apply that is under way. */
  readonly #deliveries = new Map<string, ConfigDelivery>();
  #stopListening: () => void = () => undefined;
  #done: Promise<void> | undefined;

  constructor(options: ConfigConsumerOptions) {
    this.#options = options;
    this.#lane = new ReportLane(options);
  }

  start(): void {
    if (this.#done !== undefined) return;
    this.#lane.start();
    this.#stopListening = this.#options.source.onNotice((message) => this.#hear(message));
    this.#done = this.#take();
  }

  /** Stop the applier first: an apply under way ends this. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#stopListening();
    await this.#lane.stop();
    await this.#done;
    await this.#options.source.close();
  }

  /** For the applier and the reconcile loop. */
  readonly onReport = (report: ConfigReport, key: string | undefined, isFinal: boolean): void => {
    const about = key === undefined ? undefined : this.#deliveries.get(key);
    // The end of what came in here is told there, and waited for. (1)
    if (about !== undefined && isFinal) return;
    this.#lane.tell(report, about, isFinal);
  };

  /** The same configuration as a job on any queue that this node's worker takes from. */
  job(): AnyJobDefinition {
    return {
      type: CONFIG_JOB_TYPE,
      timeoutMs: JOB_TIMEOUT_MS,
      handler: async ({ id, payload }: Job) => {
        const key = keyOf(payload) ?? `job:${id}:${digest(payload)}`;
        const report = await this.#options.applier.apply({ key, jobId: id, payload });
        if (endsWell(report)) return report;
        const { code = report.phase, message = `The configuration ended as ${report.phase}.`, field } = report.error ?? {};
        throw new JobError(code, message, { retryable: false, ...(field === undefined ? {} : { field }) });
      },
    };
  }

  async #take(): Promise<void> {
    const { source, clock, log } = this.#options;
    const { signal } = this.#stopped;
    for (let failures = 0; !signal.aborted;) {
      try {
        for (const delivery of await source.next(signal)) await this.#handle(delivery);
        failures = 0;
      } catch (error) {
        if (signal.aborted || error instanceof StoppedError) return;
        failures++;
        log.debug({ reason: error instanceof Error ? error.message : String(error), failures }, 'Configurations cannot be taken just now');
        await clock.sleep(backoffDelayMs(failures, RETRY_MS_LAST, clock.random()), signal);
      }
    }
  }

  async #handle(delivery: ConfigDelivery): Promise<void> {
    const report = await this.#reportOn(delivery);
    // A configuration of this device can only come once its code was seen.
    if (report.desiredRevision !== null && report.phase !== 'rejected') this.#options.onRedeemed();
    await this.#lane.store(report, delivery);
    await this.#options.source.acknowledge(delivery); // (1)
  }

  async #reportOn(delivery: ConfigDelivery): Promise<ConfigReport> {
    const { content, entryId, jobId } = delivery;
    if (content.kind === 'unreadable') {
      const { field, reason } = content;
      return this.#rejected(jobId, { code: 'invalid_config', message: `The field ${field} ${reason}`, field });
    }
    const key = keyOf(content.payload) ?? `entry:${entryId}`;
    this.#deliveries.set(key, delivery);
    try {
      return await this.#options.applier.apply({ key, jobId, payload: content.payload });
    } catch (error) {
      // The disk may come back, and a stopped agent does; anything else would come again with this entry and hold up all that follow.
      if (error instanceof StoppedError || (error as NodeJS.ErrnoException).syscall !== undefined) throw error;
      this.#options.log.error({ reason: String(error), entryId }, 'A configuration could not be dealt with');
      return this.#rejected(jobId, { code: 'internal', message: `The agent could not deal with this configuration: ${String(error).slice(0, 500)}` });
    } finally {
      this.#deliveries.delete(key);
    }
  }

  #rejected(jobId: string | null, error: NonNullable<ConfigReport['error']>): ConfigReport {
    const { applier, clock } = this.#options;
    const about = jobId === null ? {} : { jobId };
    const timestamp = clock.wallTime().toISOString();
    return { phase: 'rejected', ...about, desiredRevision: null, appliedRevision: applier.state.revision, services: standing(applier.state), error, timestamp };
  }

  #hear(message: JsonObject): void {
    const { nodeId, applier, isEnrolled, onRedeemed, log } = this.#options;
    if (message['nodeId'] !== undefined && message['nodeId'] !== nodeId) return;
    if (message['type'] === 'device_redeemed') onRedeemed();
    if (message['type'] !== 'config_updated') return;
    const payload = Object.fromEntries(Object.entries(message).filter(([field]) => field !== 'type' && field !== 'updatedAt'));
    const key = keyOf(payload);
    if (key === undefined && isEnrolled()) return; // (3)
    applier.apply({ key: key ?? `notice:${digest(message)}`, jobId: null, payload }).catch((error: unknown) => {
      if (!(error instanceof StoppedError)) log.error({ reason: String(error) }, 'A configuration from the channel could not be applied');
    });
  }
}

const SIGNED = ['config', 'nodeId', 'deviceId', 'revision', 'issuedAt', 'expiresAt', 'signature'];

/** Of a signed configuration, by all that is signed and the signature: a forged one never has the key of a true one. (2) */
function keyOf(payload: Json): string | undefined {
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) return undefined;
  const envelope = payload as JsonObject;
  if (!Object.hasOwn(envelope, 'signature')) return undefined;
  try {
    return `signed:${digest(SIGNED.map((field) => (Object.hasOwn(envelope, field) ? (envelope[field] as Json) : null)))}`;
  } catch {
    return undefined; // Deeper than can be written: it is refused for that.
  }
}

function digest(value: Json): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('base64url');
}
