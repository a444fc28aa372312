/** The engine's numbers as Prometheus metrics. One registry for each control plane, read when it is asked for. */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import { COUNTERS, OBSERVATIONS, type Counter as CounterName, type Histogram, type Meter, type Observation } from '../engine/meter.ts';
import type { EngineReport } from '../engine/engine.ts';
import type { ActorReader } from '../engine/read-ports.ts';
import type { QueueView } from '../protocol/job.ts';

export interface MetricsSources {
  readonly meter: Meter;
  readonly report: () => EngineReport;
  readonly reader: Pick<ActorReader, 'partitions' | 'countDeadLetters'>;
  /** Absent: no jobs are run here. */
  readonly jobs?: () => Promise<{
    readonly jobs: { readonly [state: string]: number };
    readonly queues: readonly QueueView[];
    /** Of this process: jobs placed on nodes, and those that were looked at lately and have no place, by what is missing. */
    readonly placement: { readonly placed: number; readonly waiting: { readonly [code: string]: number } };
  }>;
}

/** By queue. */
const QUEUE_GAUGES: { readonly [name: string]: readonly [help: string, read: (queue: QueueView) => number] } = {
  queue_waiting: ['Jobs handed to the queue and not taken by a worker yet.', ({ waiting }) => waiting],
  queue_held: ['Jobs held back by the queue’s pause, limits or order.', ({ held }) => held],
  queue_taken: ['Jobs that workers have taken and not acknowledged.', ({ taken }) => taken],
  queue_workers: ['Consumers seen within a minute.', ({ workers }) => workers],
  queue_paused: ['1 while the queue is paused.', ({ paused }) => (paused ? 1 : 0)],
};

const PREFIX = 'castellan_';

const COUNTER_HELP: { readonly [name in CounterName]: string } = {
  events: 'Events applied with any outcome but a dead letter.',
  transitions: 'Steps that changed an actor: each is a revision and a journal entry.',
  touches: 'Steps that only re-armed timers or set the document, such as a heartbeat in good times.',
  ignored: 'Events that an actor does not take in its present state.',
  dead_letters: 'Entries refused, each with its reason in /api/dead-letters.',
  firings: 'Timers fired.',
  commits: 'Commits written, those that only move a position among them.',
  commits_repeated: 'Commits whose reply was lost and which were found written.',
  commits_failed: 'Tries of a commit that got no answer.',
  fenced: 'Commits refused because another engine owns the partition.',
  diverged: 'Commits refused because Redis does not hold the commit before: it lost some.',
  overtaken: 'Commits computed again because an unread entry was older than a fired timer.',
  reloads: 'Partitions loaded anew from Redis after the takeover.',
  deliveries: 'Effects delivered.',
  delivery_failures: 'Tries of an effect that failed.',
  messages: 'Messages delivered to other actors.',
  posts: 'Entries delivered to the streams of other systems.',
  invocations: 'Invocations started.',
  source_gaps: 'Entries of a source stream that were trimmed before they were read.',
  future_ids: 'Entries of a source stream whose id lies in the future.',
  read_failures: 'Reads of inboxes and sources that failed.',
  list_items: 'Items taken from lists of other systems.',
  channel_messages: 'Messages heard on channels of other systems.',
  channel_overflows: 'Messages of channels that were lost because too many waited to be accepted.',
  swept: 'Actors dropped because they have been kept for long enough.',
};
const OBSERVATION_HELP: { readonly [name in Observation]: string } = {
  step_seconds: 'Time of one step in the kernel; one step in 64 is measured.',
  timer_lateness_seconds: 'Time between a timer being due and its firing.',
  batch_size: 'Events and firings of one commit.',
  commit_seconds: 'Time from sending a commit to its answer.',
};

export class Metrics {
  readonly #registry = new Registry();
  readonly #sources: MetricsSources;
  readonly #lag: Gauge<'partition'>;
  readonly #partitionTimers: Gauge;
  readonly #deadLetters: Gauge;
  readonly #jobs: Gauge<'state'> | undefined;
  readonly #unplaced: Gauge<'missing'> | undefined;
  readonly #placed: Gauge | undefined;
  readonly #queues: readonly (readonly [Gauge<'queue'>, (queue: QueueView) => number])[];

  constructor(sources: MetricsSources) {
    const { meter, report } = sources;
    const registers = [this.#registry];
    this.#sources = sources;
    collectDefaultMetrics({ register: this.#registry });
    for (const name of COUNTERS) {
      const counter = new Counter({
        name: `${PREFIX}${name}_total`,
        help: COUNTER_HELP[name],
        registers: [],
        collect() {
          this.reset();
          this.inc(meter.counters[name]);
        },
      });
      this.#registry.registerMetric(counter);
    }
    const gauge = (name: string, help: string, read: () => number): void => {
      const metric = new Gauge({
        name: PREFIX + name,
        help,
        registers: [],
        collect() {
          this.set(read());
        },
      });
      this.#registry.registerMetric(metric);
    };
    gauge('partitions_owned', 'Partitions that this engine owns.', () => report().owned);
    gauge('outbox_depth', 'Commands and messages committed and not yet delivered.', () => report().outboxDepth);
    gauge('invocations_running', 'Promises of invocations that run.', () => report().invocationsRunning);
    gauge('cached_actors', 'Actors in memory.', () => report().cachedActors);
    gauge('cached_bytes', 'Estimated bytes of the actors in memory.', () => report().cachedBytes);
    gauge('closed_seconds', 'Time since takeover in which the sources could not be heard: no deadline ran in it.', () => report().closedMs / 1_000);
    const sourceLag = new Gauge({
      name: `${PREFIX}source_lag_seconds`,
      help: 'Age of the oldest entry of a source stream that is not applied, of the partition that is furthest behind.',
      labelNames: ['source'],
      registers: [],
      collect() {
        for (const [source, lagMs] of Object.entries(report().sourceLagMs)) this.set({ source }, lagMs / 1_000);
      },
    });
    this.#registry.registerMetric(sourceLag);
    gauge('delivery_stalled_seconds', 'How long commands have been waiting without any being delivered.', () => report().deliveryStalledMs / 1_000);
    this.#lag = new Gauge({ name: `${PREFIX}partition_lag`, help: 'Inbox entries accepted and not applied.', labelNames: ['partition'], registers });
    this.#partitionTimers = new Gauge({ name: `${PREFIX}timers`, help: 'Armed timers of all partitions.', registers });
    this.#deadLetters = new Gauge({ name: `${PREFIX}dead_letters_stored`, help: 'Dead letters that are kept.', registers });
    const runsJobs = sources.jobs !== undefined;
    this.#jobs = runsJobs
      ? new Gauge({ name: `${PREFIX}jobs`, help: 'Jobs by state, as long as they are kept.', labelNames: ['state'], registers })
      : undefined;
    if (runsJobs) {
      this.#unplaced = new Gauge({ name: `${PREFIX}jobs_unplaced`, help: 'Jobs without a node, by what is missing.', labelNames: ['missing'], registers });
      this.#placed = new Gauge({ name: `${PREFIX}placements`, help: 'Jobs placed on nodes since the start.', registers });
    }
    this.#queues = Object.entries(runsJobs ? QUEUE_GAUGES : {}).map(([name, [help, read]]) => [
      new Gauge({ name: PREFIX + name, help, labelNames: ['queue'], registers }),
      read,
    ]);
  }

  /** Prometheus text. What Redis would tell is left as it was when Redis does not answer. */
  async text(): Promise<string> {
    try {
      const [partitions, deadLetters] = await Promise.all([this.#sources.reader.partitions(), this.#sources.reader.countDeadLetters()]);
      for (const { partition, lag } of partitions) this.#lag.set({ partition: String(partition) }, lag);
      this.#partitionTimers.set(partitions.reduce((sum, { timers }) => sum + timers, 0));
      this.#deadLetters.set(deadLetters);
      await this.#readJobs();
    } catch {
      // The other metrics are worth most just when Redis is away.
    }
    return `${await this.#registry.metrics()}${histograms(this.#sources.meter)}`;
  }

  async #readJobs(): Promise<void> {
    const figures = await this.#sources.jobs?.();
    if (figures === undefined) return;
    for (const [state, count] of Object.entries(figures.jobs)) this.#jobs?.set({ state }, count);
    const { placed, waiting } = figures.placement;
    this.#placed?.set(placed);
    this.#unplaced?.reset();
    for (const [missing, count] of Object.entries(waiting)) this.#unplaced?.set({ missing }, count);
    for (const [gauge, read] of this.#queues) {
      // A queue that is gone is told no more.
      gauge.reset();
      for (const queue of figures.queues) gauge.set({ queue: queue.queue }, read(queue));
    }
  }
}

/** Written by hand: prom-client's histograms take single observations only, and ours are counted already. */
function histograms(meter: Meter): string {
  let text = '';
  for (const [name, bounds] of Object.entries(OBSERVATIONS)) {
    const { counts, sum, total }: Histogram = meter.histograms[name as Observation];
    text += `\n# HELP ${PREFIX}${name} ${OBSERVATION_HELP[name as Observation]}\n# TYPE ${PREFIX}${name} histogram\n`;
    let upTo = 0;
    for (const [index, bound] of bounds.entries()) {
      upTo += counts[index] ?? 0;
      text += `${PREFIX}${name}_bucket{le="${bound}"} ${upTo}\n`;
    }
    text += `${PREFIX}${name}_bucket{le="+Inf"} ${total}\n${PREFIX}${name}_sum ${sum}\n${PREFIX}${name}_count ${total}\n`;
  }
  return text;
}
