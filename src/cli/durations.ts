/** Durations as people write them on a command line: `90`, `30s`, `5m`, `2h`, `1d`, `250ms`. A bare number is seconds. */
import { InvalidSettingError } from '../protocol/errors.ts';

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Throws InvalidSettingError naming the flag. */
export function readDurationMs(text: string, flag: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)?$/.exec(text.trim());
  if (match === null) throw new InvalidSettingError(flag, 'must be a duration such as 30s, 5m, 2h or 1d.');
  return Math.round(Number(match[1]) * UNIT_MS[(match[2] ?? 's') as keyof typeof UNIT_MS]);
}
