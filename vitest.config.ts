/**
 * How the tests run.
 *
 * Most suites start processes of their own (redis-server, dockerd, a control plane), so more workers than
 * cores would only make them starve one another. Timeouts are limits for "it hangs", never measurements.
 */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts', 'examples/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
    restoreMocks: true,
  },
});
