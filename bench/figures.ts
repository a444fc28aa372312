/** Medians, tables and verdicts: how a benchmark's figures are told. */

export interface Figure {
  /** What was measured, such as `heartbeats/s`. */
  readonly name: string;
  /** Median of the runs. */
  readonly value: number;
  readonly unit: string;
  /** Each run's value. */
  readonly runs: readonly number[];
  /** What it is compared with: another figure of the same run, or a bound. */
  readonly reference?: { readonly name: string; readonly value: number; readonly unit: string };
  /** What is aimed at, in words, and whether it was reached. */
  readonly goal?: { readonly text: string; readonly reached: boolean };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? Number.NaN) : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function figure(name: string, unit: string, runs: readonly number[], rest: Pick<Figure, 'reference' | 'goal'> = {}): Figure {
  return { name, unit, runs, value: median(runs), ...rest };
}

export function printTable(title: string, figures: readonly Figure[]): void {
  console.log(`\n${title}`);
  const rows = figures.map(({ name, value, unit, runs, reference, goal }) => [
    name,
    `${number(value)} ${unit}`,
    runs.length > 1 ? `${number(Math.min(...runs))} – ${number(Math.max(...runs))}` : '',
    reference === undefined ? '' : `${reference.name}: ${number(reference.value)} ${reference.unit}`,
    goal === undefined ? '' : `${goal.reached ? 'reached' : 'MISSED '}  ${goal.text}`,
  ]);
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  for (const row of rows) console.log(`  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd());
}

function number(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toPrecision(3)));
}
