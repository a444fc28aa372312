/** The engine's numbers as Prometheus metrics. One registry for each control plane, read when it is asked for. */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import { COUNTERS, OBSERVATIONS, type Histogram, type Meter, type Observation } from '../engine/meter.ts';
import type { EngineReport } from '../engine/engine.ts';
import type { ActorReader } from '../engine/read-ports.ts';

export interface MetricsSources {
  readonly meter: Meter;
  readonly report: () => EngineReport;
  readonly reader: Pick<ActorReader, 'partitions' | 'countDeadLetters'>;
}

const PREFIX = 'castellan_';

export class Metrics {
  readonly #registry = new Registry();
  readonly #sources: MetricsSources;
  readonly #lag: Gauge<'partition'>;
  readonly #partitionTimers: Gauge;
  readonly #deadLetters: Gauge;

  constructor(sources: MetricsSources) {
    const { meter, report } = sources;
    const registers = [this.#registry];
    this.#sources = sources;
    collectDefaultMetrics({ register: this.#registry });
    for (const name of COUNTERS) {
      const counter = new Counter({
        name: `${PREFIX}${name}_total`,
        help: `Engine counter: ${name.replaceAll('_', ' ')}.`,
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
    this.#lag = new Gauge({ name: `${PREFIX}partition_lag`, help: 'Inbox entries accepted and not applied.', labelNames: ['partition'], registers });
    this.#partitionTimers = new Gauge({ name: `${PREFIX}timers`, help: 'Armed timers of all partitions.', registers });
    this.#deadLetters = new Gauge({ name: `${PREFIX}dead_letters_stored`, help: 'Dead letters that are kept.', registers });
  }

  /** Prometheus text. What Redis would tell is left as it was when Redis does not answer. */
  async text(): Promise<string> {
    try {
      const [partitions, deadLetters] = await Promise.all([this.#sources.reader.partitions(), this.#sources.reader.countDeadLetters()]);
      for (const { partition, lag } of partitions) this.#lag.set({ partition: String(partition) }, lag);
      this.#partitionTimers.set(partitions.reduce((sum, { timers }) => sum + timers, 0));
      this.#deadLetters.set(deadLetters);
    } catch {
      // The other metrics are worth most just when Redis is away.
    }
    return `${await this.#registry.metrics()}${histograms(this.#sources.meter)}`;
  }
}

/** Written by hand: prom-client's histograms take single observations only, and ours are counted already. */
function histograms(meter: Meter): string {
  let text = '';
  for (const [name, bounds] of Object.entries(OBSERVATIONS)) {
    const { counts, sum, total }: Histogram = meter.histograms[name as Observation];
    text += `\n# HELP ${PREFIX}${name} Engine histogram: ${name.replaceAll('_', ' ')}.\n# TYPE ${PREFIX}${name} histogram\n`;
    let upTo = 0;
    for (const [index, bound] of bounds.entries()) {
      upTo += counts[index] ?? 0;
      text += `${PREFIX}${name}_bucket{le="${bound}"} ${upTo}\n`;
    }
    text += `${PREFIX}${name}_bucket{le="+Inf"} ${total}\n${PREFIX}${name}_sum ${sum}\n${PREFIX}${name}_count ${total}\n`;
  }
  return text;
}
