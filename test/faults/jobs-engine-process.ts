/** {@link startJobsEngine} in a process of its own, to be killed. Ends with its parent; SIGTERM stops it properly. */
import { startJobsEngine, type JobsEngineOptions } from './jobs-engine.ts';

process.once('disconnect', () => process.exit(0));
const engine = await startJobsEngine(JSON.parse(process.argv[2] ?? '{}') as JobsEngineOptions);
process.once('SIGTERM', () => void engine.stop().then(() => process.exit(0)));
process.send?.('started');
