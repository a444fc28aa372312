/** An engine that finds another one at work stands by, and takes over when that one stops or its leases end. */
import type { Engine } from '../engine/engine.ts';
import { systemClock } from '../engine/system-clock.ts';
import type { RedisConnections } from '../redis/connect.ts';

/** How often it is looked whether another engine works on the partitions. */
const STANDBY_LOOK_MS = 100;

/** Starts the engine, and waits until events are applied: by it or by another one. Aborted, it ends early. */
export async function untilWorking(engine: Pick<Engine, 'start'>, redis: Pick<RedisConnections, 'reader'>, signal: AbortSignal): Promise<void> {
  const done = new AbortController();
  const ended = AbortSignal.any([done.signal, signal]);
  const elsewhere = async (): Promise<void> => {
    while (!ended.aborted) {
      await systemClock.sleep(STANDBY_LOOK_MS, ended);
      // A Redis that is away for a moment is asked again.
      const partitions = ended.aborted ? [] : await redis.reader.partitions().catch(() => []);
      if (partitions.length > 0 && partitions.every(({ owner }) => owner !== null)) return;
    }
  };
  try {
    await Promise.race([engine.start(), elsewhere()]);
  } finally {
    done.abort();
  }
}
