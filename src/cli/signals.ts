/** How a long-running command is asked to end. */

/** Exit code of a command that was told twice: 128 + SIGINT, as shells have it. */
const IMPATIENT_EXIT_CODE = 130;

/**
 * Resolves at the first SIGINT or SIGTERM, or when the process that started this one as its child is gone.
 * A second signal of the same kind ends the process at once.
 */
export function untilAskedToStop(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      resolve();
      process.once(signal, () => process.exit(IMPATIENT_EXIT_CODE));
    });
  }
  if (process.channel !== undefined) {
    process.once('disconnect', resolve);
    // A listener keeps the channel open, and with it a process that has nothing left to do.
    void promise.then(() => process.off('disconnect', resolve));
  }
  return promise;
}
