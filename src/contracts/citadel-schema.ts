/**
 * The shape of a node's status as others write it: liberal in what may be missing, exact in what is there.
 *
 * 1. Unknown fields are allowed everywhere; they stay in the stored document, which is the text as it came.
 * 2. A reading that cannot be true (-1, "N/A", null, …) means "not read": it is removed, never judged and never shown.
 * 3. Both spellings are read (snake_case as the documents have it, camelCase beside it).
 */
import { z } from 'zod';

/** Longer lists are refused: no machine has so many, and a list is walked at every beat. */
const LIST_LENGTH_MAX = 256;
const TEXT_LENGTH_MAX = 256;

const text = z.string().max(TEXT_LENGTH_MAX);
/** A number that can be true; sentinels are taken out before (withoutSentinels). */
const reading = z.number().nonnegative().optional();
/** RFC 3339, with fractions and offsets or without. A node's own clock is shown, never judged. */
const timestamp = z
  .string()
  .regex(/^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:[Zz]|[+-]\d{2}:?\d{2})?$/, 'must be an RFC 3339 time')
  .nullish();

const node = z.object({
  name: text.nullish(),
  tags: z.array(z.string().max(64)).max(64).nullish(),
  tailscale_ip: text.nullish(),
  network_ip: text.nullish(),
  uptime_seconds: reading,
  status_port: reading,
});

const system = z.object({
  cpu_percent: reading,
  memory_used_gb: reading,
  memory_total_gb: reading,
  memory_percent: reading,
  disk_used_gb: reading,
  disk_total_gb: reading,
  disk_percent: reading,
  diskUsedGb: reading,
  diskTotalGb: reading,
  diskPercent: reading,
});

const gpu = z.object({
  index: reading,
  name: text.nullish(),
  memory_used_mb: reading,
  memory_total_mb: reading,
  utilization_percent: reading,
  temperature_celsius: reading,
  temperatureCelsius: reading,
  driver: text.nullish(),
});

const service = z.object({
  name: text,
  type: text.nullish(),
  status: text,
  health: text.nullish(),
  port: reading,
  models: z.array(z.string().max(1_024)).max(LIST_LENGTH_MAX).nullish(),
});

const flat = {
  timestamp,
  node: node.nullish(),
  system: system.nullish(),
  gpu: z.array(gpu).max(LIST_LENGTH_MAX).nullish(),
  services: z.array(service).max(LIST_LENGTH_MAX).nullish(),
};

const nodeId = z.string().nullish();

/** What `GET /status` answers; accepted in the stream when the entry names the node. */
export const flatStatus = z.object({ nodeId, node_id: nodeId, ...flat });
/** What the stream's payload holds. */
export const wrappedStatus = z.object({ nodeId, node_id: nodeId, timestamp, status: z.object(flat) });

export type StatusReading = z.infer<typeof wrappedStatus>['status'];

const READINGS: { readonly [group: string]: ReadonlySet<string> } = {
  node: readingsOf(node),
  system: readingsOf(system),
  gpu: readingsOf(gpu),
  services: readingsOf(service),
};

function readingsOf(schema: z.ZodObject): ReadonlySet<string> {
  return new Set(Object.keys(schema.shape).filter((name) => schema.shape[name] === reading));
}

/** Texts with which tools say that there is no reading. */
const NO_READING = /^(?:|n\/?a|nan|null|none|unknown|unavailable|-|\[.*\]|err!?)$/i;

function isSentinel(value: unknown): boolean {
  if (value === null) return true;
  if (typeof value === 'number') return value < 0 || !Number.isFinite(value);
  return typeof value === 'string' && NO_READING.test(value.trim());
}

/** The status without readings that mean "not read"; undefined when it has none of them. (2) */
export function withoutSentinels(status: { readonly [field: string]: unknown }): { readonly [field: string]: unknown } | undefined {
  let cleaned: { [field: string]: unknown } | undefined;
  for (const [group, readings] of Object.entries(READINGS)) {
    const value = status[group];
    const kept = Array.isArray(value) ? cleanedList(value, readings) : cleanedObject(value, readings);
    if (kept === value) continue;
    cleaned ??= { ...status };
    cleaned[group] = kept;
  }
  return cleaned;
}

function cleanedList(values: readonly unknown[], readings: ReadonlySet<string>): readonly unknown[] {
  const kept = values.map((value) => cleanedObject(value, readings));
  return kept.every((value, index) => value === values[index]) ? values : kept;
}

function cleanedObject(value: unknown, readings: ReadonlySet<string>): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value);
  const kept = entries.filter(([name, each]) => !(readings.has(name) && isSentinel(each)));
  return kept.length === entries.length ? value : Object.fromEntries(kept);
}
