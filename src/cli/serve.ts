/** `castellan serve`: the control plane alone, on the Redis that the settings name. */
import { Command } from 'commander';
import { readListenAddress } from '../http/settings.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import { redisOptionsFrom } from '../redis/target.ts';
import type { StartControlPlane } from './control-plane.ts';
import { requireFreePort } from './port.ts';
import { createLog, environmentWith, readDataDir, readLogLevel } from './settings.ts';
import { untilAskedToStop } from './signals.ts';

interface ServeFlags {
  readonly redisUrl?: string;
  readonly host?: string;
  readonly port?: string;
  readonly dataDir?: string;
}

export function serveCommand(startControlPlane: StartControlPlane): Command {
  return new Command('serve')
    .description('run the control plane alone, on the Redis that the settings name')
    .option('--redis-url <url>', 'Redis 7.0 or newer, or Valkey (REDIS_URL)')
    .option('--host <address>', 'address to listen on (HOST)')
    .option('--port <port>', 'port to listen on (PORT)')
    .option('--data-dir <folder>', 'folder of the secret and the admin token (CASTELLAN_DATA_DIR)')
    .action(async (flags: ServeFlags) => await serve(flags, startControlPlane));
}

async function serve(flags: ServeFlags, startControlPlane: StartControlPlane): Promise<void> {
  const environment = environmentWith({ REDIS_URL: flags.redisUrl, HOST: flags.host, PORT: flags.port, CASTELLAN_DATA_DIR: flags.dataDir });
  const redis = redisOptionsFrom(environment);
  if (redis === undefined) throw new InvalidSettingError('REDIS_URL', 'is missing. Name a Redis, or use "npm start", which runs its own.');
  const { host, port } = readListenAddress(environment);
  const log = createLog('castellan', readLogLevel(environment, 'info'));
  await requireFreePort(host, port);

  const stopped = untilAskedToStop();
  const controlPlane = await startControlPlane({ redis, environment, dataDir: readDataDir(environment), host, port, log });
  console.log(`Castellan's control plane: ${controlPlane.inspectorLink}`);
  await stopped;
  await controlPlane.stop();
}
