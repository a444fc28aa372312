/** The one suite of the EngineStore port: it holds for Redis and for the simulator's memory. */
import { afterAll, beforeAll, describe } from 'vitest';
import { appendSuite } from './append-suite.ts';
import { commitSuite } from './commit-suite.ts';
import { keepSuite } from './keep-suite.ts';
import { leaseSuite } from './lease-suite.ts';
import { outSuite } from './out-suite.ts';
import type { StoreHarness } from './store-harness.ts';
import { SuiteContext } from './suite-context.ts';

export function storeSuite(name: string, open: () => Promise<{ readonly harness: StoreHarness; close(): Promise<void> }>): void {
  describe(`the store over ${name}`, () => {
    const suite = new SuiteContext();
    let close: () => Promise<void>;
    beforeAll(async () => {
      const opened = await open();
      suite.open(opened.harness);
      close = () => opened.close();
    });
    afterAll(() => close());

    leaseSuite(suite);
    commitSuite(suite);
    appendSuite(suite);
    outSuite(suite);
    keepSuite(suite);
  });
}
