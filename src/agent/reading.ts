/** A sensor's value: a number that can be true, or nothing. */

/** A finite, non-negative number, also from text; undefined for every sentinel (-1, NaN, null, '', 'N/A', '[Not Supported]'). */
export function reading(value: unknown): number | undefined {
  if (typeof value === 'string') return value.trim() === '' ? undefined : reading(Number(value));
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined;
}

/** `part` of `whole` in percent; undefined when either is missing or the whole is nothing. */
export function percentOf(part: number | undefined, whole: number | undefined): number | undefined {
  return part === undefined || whole === undefined || whole === 0 ? undefined : (100 * part) / whole;
}

export function round(value: number, digits: number): number {
  const factor = 10 ** digits;
  return Math.round(value * factor) / factor;
}
