/**
 * What may run on one node: the built-in services, the node's own file on top, and its veto.
 *
 * 1. A service of the node's file replaces the built-in one of the same name as a whole.
 * 2. The veto is the node's last word: no configuration gets past it.
 * 3. A file that is wrong in any place is refused as a whole, naming the place; a node never runs with half of its veto.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { InvalidSettingError } from '../protocol/errors.ts';
import type { CatalogueService, LocalCatalogue } from './catalogue.ts';
import { BUILTIN_SERVICES } from './services.ts';

/** The setting that names the node's own file. */
export const CATALOGUE_SETTING = 'CASTELLAN_CATALOGUE';
/** Some hundred services. */
const FILE_BYTES_MAX = 1024 * 1024;
const SERVICES_MAX = 256;

export interface Catalogue {
  readonly services: ReadonlyMap<string, CatalogueService>;
  /** Why a service is never run here, by its name. */
  readonly vetoed: ReadonlyMap<string, string>;
  readonly policy: { readonly ssh: boolean; readonly manualConfig: boolean };
}

export type ServiceLookup =
  | { readonly kind: 'found'; readonly service: CatalogueService }
  | { readonly kind: 'vetoed'; readonly reason: string }
  | { readonly kind: 'unknown'; readonly known: readonly string[] };

/** `local` was checked by {@link parseLocalCatalogue}. */
export function catalogueOf(builtin: readonly CatalogueService[] = BUILTIN_SERVICES, local: LocalCatalogue = {}): Catalogue {
  const services = new Map([...builtin, ...(local.services ?? [])].map((service) => [service.name, service]));
  const denied = new Set(local.deny);
  const vetoed = new Map<string, string>();
  for (const name of services.keys()) {
    if (denied.has(name)) vetoed.set(name, 'it is denied by this node');
    else if (local.allow !== undefined && !local.allow.includes(name)) vetoed.set(name, 'it is not among those that this node allows');
  }
  return { services, vetoed, policy: { ssh: local.policy?.ssh ?? false, manualConfig: local.policy?.manualConfig ?? false } };
}

export function findService(catalogue: Catalogue, name: string): ServiceLookup {
  const service = catalogue.services.get(name);
  const reason = catalogue.vetoed.get(name);
  if (reason !== undefined) return { kind: 'vetoed', reason };
  return service === undefined ? { kind: 'unknown', known: servicesOffered(catalogue).map((each) => each.name) } : { kind: 'found', service };
}

/** What a configuration may name, in the catalogue's order. */
export function servicesOffered(catalogue: Catalogue): readonly CatalogueService[] {
  return [...catalogue.services.values()].filter((service) => !catalogue.vetoed.has(service.name));
}

/** The built-in services and those of the file at `path`, when one is named. Throws {@link InvalidSettingError}. */
export function loadCatalogue(path?: string): Catalogue {
  return catalogueOf(BUILTIN_SERVICES, path === undefined || path === '' ? {} : readLocalCatalogue(path));
}

/** Throws {@link InvalidSettingError} naming the file and the place in it. */
export function readLocalCatalogue(path: string): LocalCatalogue {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new InvalidSettingError(CATALOGUE_SETTING, `names ${path}, which cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown reason'}).`);
  }
  if (text.length > FILE_BYTES_MAX) throw new InvalidSettingError(CATALOGUE_SETTING, `names ${path}, which is longer than ${FILE_BYTES_MAX} bytes.`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InvalidSettingError(CATALOGUE_SETTING, `names ${path}, which is not JSON.`);
  }
  return parseLocalCatalogue(value, path);
}

/** Throws {@link InvalidSettingError} naming the place in it. `origin` is the file, for the message. */
export function parseLocalCatalogue(value: unknown, origin: string): LocalCatalogue {
  const parsed = localCatalogue.safeParse(value);
  if (parsed.success) return parsed.data as LocalCatalogue;
  const issue = parsed.error.issues[0];
  const place = issue === undefined ? '' : issue.path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`)).join('');
  throw new InvalidSettingError(
    CATALOGUE_SETTING,
    `names ${origin}, which is wrong at ${place.replace(/^\./, '') || 'its top'}: ${issue?.message ?? 'unknown reason'}.`,
  );
}

const SERVICE_NAME = /^[a-z][a-z0-9-]{0,31}$/;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
const PARAMETER_NAME = /^[a-z][A-Za-z0-9_]{0,63}$/;
/** Not one that every object has by itself, `constructor` or `toString`. */
const parameterName = z
  .string()
  .regex(PARAMETER_NAME)
  .refine((each) => !(each in {}), 'is a name that objects have already');
/** `[host[:port]/]path[:tag][@digest]`, https://pkg.go.dev/github.com/distribution/reference */
const IMAGE = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(\/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$/;

const text = z.string().min(1).max(512);
const port = z.number().int().min(1).max(65_535);
const name = z.string().regex(SERVICE_NAME, `must match ${SERVICE_NAME.source}`);
const strings = z.array(z.string().max(4096)).max(128);
const containerPath = z
  .string()
  .max(256)
  .regex(/^\/[^\0:]*$/, 'must be an absolute path in the container')
  .refine((path) => path !== '/' && !path.split('/').includes('..'), 'must be a folder of its own');

const parameter = z
  .strictObject({
    description: text,
    type: z.enum(['string', 'integer', 'boolean']),
    pattern: z.string().max(512).optional(),
    min: z.number().optional(),
    max: z.number().optional(),
    default: z.union([z.string(), z.number(), z.boolean()]).optional(),
    required: z.literal(true).optional(),
    env: z.string().regex(ENV_NAME).optional(),
    format: z.string().max(512).optional(),
    args: strings.optional(),
  })
  .superRefine((each, { addIssue }) => {
    if (each.type === 'string' && each.pattern === undefined)
      addIssue({ code: 'custom', path: ['pattern'], message: 'a string parameter needs an anchored pattern' });
    if (each.pattern !== undefined && !isAnchored(each.pattern))
      addIssue({ code: 'custom', path: ['pattern'], message: 'must be a regular expression that begins with ^ and ends with $ around all alternatives' });
    if (each.default !== undefined && !matchesType(each.type, each.default))
      addIssue({ code: 'custom', path: ['default'], message: `must be of type ${each.type}` });
  });

function matchesType(type: string, value: string | number | boolean): boolean {
  return type === 'integer' ? Number.isInteger(value) : typeof value === type;
}

/** `^a|b$` is anchored at neither end of both alternatives: it must be `^(a|b)$`. */
function isAnchored(pattern: string): boolean {
  try {
    // oxlint-disable-next-line no-new -- only whether it compiles.
    new RegExp(pattern, 'u');
  } catch {
    return false;
  }
  if (!pattern.startsWith('^') || !pattern.endsWith('$') || pattern.endsWith('\\$')) return false;
  let depth = 0;
  let inClass = false;
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern[index];
    if (character === '\\') index++;
    else if (inClass) inClass = character !== ']';
    else if (character === '[') inClass = true;
    else if (character === '(') depth++;
    else if (character === ')') depth--;
    else if (character === '|' && depth === 0) return false;
  }
  return true;
}

const service = z.strictObject({
  name,
  title: text,
  description: text,
  kind: z.enum(['llm', 'embedding', 'database', 'other']),
  image: z.string().max(512).regex(IMAGE, 'must be an image reference'),
  command: strings.optional(),
  env: z.record(z.string().regex(ENV_NAME), z.string().max(4096)).optional(),
  secrets: z.record(z.string().regex(ENV_NAME), z.strictObject({ description: text })).optional(),
  user: z
    .string()
    .regex(/^[a-z0-9_][a-z0-9_-]{0,31}(:[a-z0-9_][a-z0-9_-]{0,31})?$/)
    .optional(),
  parameters: z.record(parameterName, parameter).optional(),
  ports: z.array(z.strictObject({ container: port, host: port })).max(16),
  volumes: z.array(z.strictObject({ name, path: containerPath })).max(16),
  gpu: z.strictObject({ required: z.boolean(), memoryMb: z.number().int().min(0) }).optional(),
  diskGb: z.number().min(0),
  limits: z.strictObject({
    memoryMb: z.number().int().min(16).optional(),
    cpus: z.number().positive().optional(),
    pids: z.number().int().min(1).max(65_536),
    sharedMemoryMb: z.number().int().min(1).optional(),
  }),
  readOnlyRoot: z.boolean().optional(),
  capabilities: z
    .array(z.enum(['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'SETGID', 'SETUID', 'NET_BIND_SERVICE', 'IPC_LOCK', 'SYS_NICE', 'KILL']))
    .max(16)
    .optional(),
  health: z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('http'),
      port,
      path: z
        .string()
        .max(256)
        .regex(/^\/[!-~]*$/, 'must be a path'),
    }),
    z.strictObject({ kind: z.literal('tcp'), port }),
    z.strictObject({ kind: z.literal('command'), command: strings.min(1) }),
  ]),
  startDeadlineMs: z.number().int().min(1000).max(86_400_000),
  models: z.strictObject({ api: z.enum(['openai', 'ollama']), port }).optional(),
});

/** As {@link LocalCatalogue}. */
const localCatalogue = z.strictObject({
  services: z
    .array(service)
    .max(SERVICES_MAX)
    .refine((all) => new Set(all.map((each) => each.name)).size === all.length, 'names a service twice')
    .optional(),
  deny: z.array(name).max(SERVICES_MAX).optional(),
  allow: z.array(name).max(SERVICES_MAX).optional(),
  policy: z.strictObject({ ssh: z.boolean().optional(), manualConfig: z.boolean().optional() }).optional(),
});
