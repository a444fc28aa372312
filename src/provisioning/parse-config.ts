/**
 * A configuration as it came in, from a form, a stream or a channel → {@link DeviceConfig}, or a refusal that names the field.
 *
 * 1. All or nothing: what is returned is valid as a whole, and nothing of a refused configuration is used.
 * 2. A service is a name of the catalogue with parameters that it declares. Whatever else decides how a container looks is refused, not passed over.
 * 3. A field that this version does not know is listed and changes nothing. So is everything that would open remote access.
 * 4. `null` and an empty name stand for an omitted field, as other programs write them. Each field is known in both spellings.
 * 5. Parsing what was parsed gives the same.
 */
import type { DeviceConfig, ServiceChoice } from '../protocol/device-config.ts';
import { InvalidConfigError } from '../protocol/errors.ts';
import { checkBounds, fieldPath, isPlainObject, printableName, ROOT_FIELD } from './config-bounds.ts';
import { findService, type Catalogue } from './node-catalogue.ts';
import { parseParameters } from './parameters.ts';

/** A node with more services than this is another kind of machine. */
export const SERVICES_MAX = 32;
export const TAGS_MAX = 64;
export const TAG = /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$/;
export const NAME_LENGTH_MAX = 128;
/** °C. Below, any machine is always too hot; above, none is left to tell of it. */
export const ALERT_TEMPERATURE_MIN = 30;
export const ALERT_TEMPERATURE_MAX = 120;

export interface ParsedConfig {
  readonly config: DeviceConfig;
  /** Names of fields that were not understood. */
  readonly unsupported: readonly string[];
}

type Writable = { -readonly [field in keyof DeviceConfig]: DeviceConfig[field] };

/** Throws {@link InvalidConfigError}, whose `field` is a path such as `services[0].parameters.model`. */
export function parseDeviceConfig(value: unknown, catalogue: Catalogue): ParsedConfig {
  if (!isPlainObject(value)) throw new InvalidConfigError(ROOT_FIELD, 'must be an object of settings.');
  checkBounds(value, ROOT_FIELD);

  const { known, unsupported } = sortFields(value);
  const config: Writable = {};
  for (const [field, given] of known) PARSERS[field](config, given, catalogue);

  if (config.services?.length === 0 && config.replaceServices !== true)
    throw new InvalidConfigError('services', 'is empty, which would say that nothing runs. Say "replaceServices": true if that is meant.');
  if (config.replaceServices === true && config.services === undefined)
    throw new InvalidConfigError('services', 'is needed with replaceServices: it names what goes on running.');
  return { config, unsupported };
}

type FieldParser = (config: Writable, value: unknown, catalogue: Catalogue) => void;

const PARSERS: { readonly [field in keyof Required<DeviceConfig>]: FieldParser } = {
  deviceName: (config, value) => {
    const name = deviceName(value);
    if (name !== '') config.deviceName = name;
  },
  services: (config, value, catalogue) => {
    config.services = services(value, catalogue);
  },
  autoStartServices: (config, value) => {
    config.autoStartServices = flag('autoStartServices', value);
  },
  sshEnabled: (config, value) => {
    config.sshEnabled = flag('sshEnabled', value);
  },
  customTags: (config, value) => {
    config.customTags = tags(value);
  },
  healthMonitoringEnabled: (config, value) => {
    config.healthMonitoringEnabled = flag('healthMonitoringEnabled', value);
  },
  alertOnOffline: (config, value) => {
    config.alertOnOffline = flag('alertOnOffline', value);
  },
  alertOnHighTemp: (config, value) => {
    config.alertOnHighTemp = typeof value === 'number' ? temperature(value) : flag('alertOnHighTemp', value, 'true, false or a temperature in °C');
  },
  replaceServices: (config, value) => {
    config.replaceServices = flag('replaceServices', value);
  },
};

const FIELDS = Object.keys(PARSERS) as (keyof DeviceConfig)[];
/** Letters alone, so that `custom_tags`, `customTags` and `CustomTags` are one field. */
const FIELD_BY_LETTERS: ReadonlyMap<string, keyof DeviceConfig> = new Map(FIELDS.map((field) => [field.toLowerCase(), field]));

/** Fields of containers. In a configuration they are an attempt to get around the catalogue, or a misunderstanding that must not pass in silence. */
const CONTAINER_FIELDS: ReadonlySet<string> = new Set(
  (
    'image images build dockerfile compose composefile container containers command cmd entrypoint args arguments env environment envfile ' +
    'mount mounts volume volumes bind binds hostconfig device devices port ports expose publish privileged user cap capadd capabilities securityopt ' +
    'network networkmode networks pid pidmode ipc ipcmode runtime sysctls ulimits tmpfs labels restart script shellcommand exec hook hooks catalogue catalog'
  ).split(' '),
);

function lettersOf(key: string): string {
  return key.replaceAll(/[_-]/g, '').toLowerCase();
}

interface SortedFields {
  readonly known: ReadonlyMap<keyof DeviceConfig, unknown>;
  readonly unsupported: readonly string[];
}

function sortFields(value: { readonly [key: string]: unknown }): SortedFields {
  const known = new Map<keyof DeviceConfig, unknown>();
  const unsupported: string[] = [];
  for (const [key, given] of Object.entries(value)) {
    const letters = lettersOf(key);
    const field = FIELD_BY_LETTERS.get(letters);
    if (field === undefined) {
      if (CONTAINER_FIELDS.has(letters))
        throw new InvalidConfigError(fieldPath(ROOT_FIELD, key), 'is decided by the catalogue of the node, never by a configuration.');
      unsupported.push(printableName(key));
    } else if (given !== null) {
      if (known.has(field)) throw new InvalidConfigError(field, 'is given twice, in two spellings.');
      known.set(field, given);
    }
  }
  return { known, unsupported };
}

function flag(field: string, value: unknown, expected = 'true or false'): boolean {
  if (typeof value !== 'boolean') throw new InvalidConfigError(field, `must be ${expected}.`);
  return value;
}

function temperature(value: number): number {
  if (value < ALERT_TEMPERATURE_MIN || value > ALERT_TEMPERATURE_MAX)
    throw new InvalidConfigError('alertOnHighTemp', `must be from ${ALERT_TEMPERATURE_MIN} to ${ALERT_TEMPERATURE_MAX} °C.`);
  return value;
}

/** Control characters, line ends, halves of pairs, and what turns the reading direction of the text around it. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202A-\u202E\u2066-\u2069]/u;

function deviceName(value: unknown): string {
  if (typeof value !== 'string') throw new InvalidConfigError('deviceName', 'must be a text.');
  const name = value.trim();
  if (name.length > NAME_LENGTH_MAX) throw new InvalidConfigError('deviceName', `is longer than ${NAME_LENGTH_MAX} characters.`);
  if (UNPRINTABLE.test(name)) throw new InvalidConfigError('deviceName', 'holds a character that cannot be shown.');
  return name;
}

function tags(value: unknown): readonly string[] {
  if (!Array.isArray(value)) throw new InvalidConfigError('customTags', 'must be a list of texts.');
  if (value.length > TAGS_MAX) throw new InvalidConfigError('customTags', `holds ${value.length} tags; at most ${TAGS_MAX} are allowed.`);
  value.forEach((tag: unknown, index) => {
    if (typeof tag !== 'string') throw new InvalidConfigError(`customTags[${index}]`, 'must be a text.');
    if (!TAG.test(tag)) throw new InvalidConfigError(`customTags[${index}]`, `must match ${TAG.source}.`);
  });
  return [...new Set(value as readonly string[])];
}

function services(value: unknown, catalogue: Catalogue): readonly ServiceChoice[] {
  if (!Array.isArray(value)) throw new InvalidConfigError('services', 'must be a list of names.');
  if (value.length > SERVICES_MAX) throw new InvalidConfigError('services', `holds ${value.length} services; at most ${SERVICES_MAX} are allowed.`);
  const chosen = new Map<string, ServiceChoice>();
  const holderOf = new Map<number, string>();
  value.forEach((item: unknown, index) => {
    const field = `services[${index}]`;
    const choice = serviceChoice(item, field, catalogue);
    const before = chosen.get(choice.name);
    if (before !== undefined) {
      if (JSON.stringify(before) !== JSON.stringify(choice)) throw new InvalidConfigError(field, `names ${choice.name} a second time, with other parameters.`);
      return;
    }
    chosen.set(choice.name, choice);
    for (const { host } of catalogue.services.get(choice.name)?.ports ?? []) {
      const holder = holderOf.get(host);
      if (holder !== undefined) throw new InvalidConfigError(field, `needs port ${host}, which ${holder} takes already.`);
      holderOf.set(host, choice.name);
    }
  });
  return [...chosen.values()];
}

function serviceChoice(item: unknown, field: string, catalogue: Catalogue): ServiceChoice {
  if (typeof item !== 'string' && !isPlainObject(item)) throw new InvalidConfigError(field, 'must be a name, or an object with a name and parameters.');
  const { name, parameters, ...rest } = typeof item === 'string' ? { name: item } : (item as { name?: unknown; parameters?: unknown });
  const stranger = Object.keys(rest)[0];
  if (stranger !== undefined)
    throw new InvalidConfigError(
      fieldPath(field, stranger),
      'is not of a service: there are only name and parameters; the rest is decided by the catalogue of the node.',
    );
  const nameField = typeof item === 'string' ? field : `${field}.name`;
  if (typeof name !== 'string') throw new InvalidConfigError(nameField, 'must be the name of a service.');

  const lookup = findService(catalogue, name);
  switch (lookup.kind) {
    case 'unknown':
      throw new InvalidConfigError(nameField, `is not in the catalogue. It has ${lookup.known.join(', ') || 'nothing'}.`);
    case 'vetoed':
      throw new InvalidConfigError(nameField, `names ${name}, which does not run here: ${lookup.reason}.`);
    case 'found': {
      const values = parseParameters(lookup.service, parameters ?? {}, `${field}.parameters`);
      return Object.keys(values).length === 0 ? { name } : { name, parameters: values };
    }
  }
}
