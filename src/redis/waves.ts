/** The first batch of every line, then the second of those that have one, …: a later batch is not sent before an earlier one of its line was taken. */
export function wavesOf<Batch>(batches: readonly Batch[], lineOf: (batch: Batch) => string | number): readonly (readonly Batch[])[] {
  const waves: Batch[][] = [];
  const next = new Map<string | number, number>();
  for (const batch of batches) {
    const line = lineOf(batch);
    const number = next.get(line) ?? 0;
    next.set(line, number + 1);
    (waves[number] ??= []).push(batch);
  }
  return waves;
}
