/**
 * An engine in a process of its own, to be killed: hosts ledgers and alarms.
 *
 * Argument: JSON of {@link EngineProcessOptions}. Ends with its parent; SIGTERM stops the engine properly.
 */
import { Redis } from 'ioredis';
import { registerActorType } from '../../src/core/kernel.ts';
import { Engine } from '../../src/engine/engine.ts';
import type { EngineSettings } from '../../src/engine/settings.ts';
import { systemClock } from '../../src/engine/system-clock.ts';
import { connectRedis } from '../../src/redis/connect.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { alarmType } from './alarm.ts';
import { ledgerType } from './ledger.ts';

export interface EngineProcessOptions {
  /** The engine's way to Redis, perhaps through a proxy. */
  readonly url: string;
  /** The executor's own way. */
  readonly effectsUrl: string;
  readonly settings: Partial<EngineSettings>;
}

/** The list to which the executor of `record` appends JSON of `{key, params}`. */
export const EFFECTS = 'effects';

if (import.meta.main) {
  process.once('disconnect', () => process.exit(0));
  const options = JSON.parse(process.argv[2] ?? '{}') as EngineProcessOptions;
  const effects = new Redis(options.effectsUrl);
  effects.on('error', () => undefined);
  const redis = await connectRedis(parseRedisUrl(options.url));
  const engine = new Engine({
    store: redis.engineStore,
    doorbell: redis.doorbell,
    clock: systemClock,
    types: [
      {
        registered: registerActorType(ledgerType),
        executors: {
          record: async ({ key, command }) => void (await effects.rpush(EFFECTS, JSON.stringify({ key, params: command.params }))),
        },
      },
      { registered: registerActorType(alarmType), executors: {} },
    ],
    owner: `faults-${process.pid}`,
    settings: options.settings,
  });
  process.once('SIGTERM', () => {
    void engine
      .stop()
      .then(() => redis.close())
      .then(() => process.exit(0));
  });
  await engine.start();
  process.send?.('started');
}
