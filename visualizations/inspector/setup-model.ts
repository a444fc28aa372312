/**
 * The onboarding form as values, and the desired configuration that they stand for.
 *
 * 1. What the form does not show (remote access, services that only the node's own catalogue knows) is passed on as it was saved.
 * 2. Nothing is judged here: a value that is no number is sent as it was typed, and the control plane names the field.
 *    So there is one set of rules and one wording of them.
 */
import type { CatalogueItem } from '../../src/protocol/catalogue-item.ts';
import type { DeviceConfig, ServiceChoice } from '../../src/protocol/device-config.ts';

export interface ServiceValues {
  readonly chosen: boolean;
  /** As typed; empty: the catalogue's default. */
  readonly parameters: { readonly [name: string]: string };
}

export interface SetupValues {
  readonly deviceName: string;
  readonly customTags: string;
  readonly services: { readonly [name: string]: ServiceValues };
  readonly replaceServices: boolean;
  readonly autoStartServices: boolean;
  readonly healthMonitoringEnabled: boolean;
  readonly alertOnOffline: boolean;
  readonly alertOnHighTemp: 'off' | 'default' | 'at';
  readonly temperature: string;
}

export type Parameter = NonNullable<CatalogueItem['parameters']>[string];

const NOTHING_CHOSEN: ServiceValues = { chosen: false, parameters: {} };

/** Settings that were never saved start as a new device should: services start by themselves, and its health is watched. */
export function valuesOf(saved: DeviceConfig | undefined, name: string): SetupValues {
  const heat = saved?.alertOnHighTemp ?? false;
  return {
    deviceName: saved?.deviceName ?? name,
    customTags: (saved?.customTags ?? []).join(', '),
    services: Object.fromEntries(
      (saved?.services ?? []).map(({ name: service, parameters = {} }) => [service, { chosen: true, parameters: typed(parameters) }]),
    ),
    replaceServices: false,
    autoStartServices: saved?.autoStartServices ?? true,
    healthMonitoringEnabled: saved?.healthMonitoringEnabled ?? true,
    alertOnOffline: saved?.alertOnOffline ?? false,
    alertOnHighTemp: heat === false ? 'off' : heat === true ? 'default' : 'at',
    temperature: typeof heat === 'number' ? String(heat) : '',
  };
}

function typed(parameters: NonNullable<ServiceChoice['parameters']>): { readonly [name: string]: string } {
  return Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, String(value)]));
}

export function serviceValues(values: SetupValues, name: string): ServiceValues {
  return values.services[name] ?? NOTHING_CHOSEN;
}

export function chosenServices({ services }: SetupValues): readonly string[] {
  return Object.keys(services).filter((name) => services[name]?.chosen === true);
}

/** The whole desired configuration: it takes the place of the one saved before. */
export function configOf(values: SetupValues, catalogue: readonly CatalogueItem[], saved: DeviceConfig | undefined): DeviceConfig {
  const services = chosenServices(values).map((name) => choiceOf(name, serviceValues(values, name), catalogue, saved));
  const deviceName = values.deviceName.trim();
  return {
    ...(saved?.sshEnabled === undefined ? {} : { sshEnabled: saved.sshEnabled }), // (1)
    // In the order of the form: of several faults the first is told.
    ...(deviceName === '' ? {} : { deviceName }),
    customTags: values.customTags.split(/[\s,]+/).filter((tag) => tag !== ''),
    // Without it services are only added, and a list that is empty would be refused.
    ...(services.length > 0 || values.replaceServices ? { services } : {}),
    ...(values.replaceServices ? { replaceServices: true } : {}),
    autoStartServices: values.autoStartServices,
    healthMonitoringEnabled: values.healthMonitoringEnabled,
    alertOnOffline: values.alertOnOffline,
    alertOnHighTemp: temperatureOf(values),
  };
}

function temperatureOf({ alertOnHighTemp, temperature }: SetupValues): boolean | number {
  if (alertOnHighTemp !== 'at') return alertOnHighTemp === 'default';
  return numberOf(temperature) as number; // (2)
}

function choiceOf(name: string, values: ServiceValues, catalogue: readonly CatalogueItem[], saved: DeviceConfig | undefined): ServiceChoice {
  const item = catalogue.find((each) => each.name === name);
  if (item === undefined) return saved?.services?.find((service) => service.name === name) ?? { name }; // (1)
  const parameters: { [parameter: string]: string | number | boolean } = {};
  for (const [parameter, { type }] of Object.entries(item.parameters ?? {})) {
    const text = values.parameters[parameter]?.trim() ?? '';
    if (text !== '') parameters[parameter] = type === 'integer' ? numberOf(text) : type === 'boolean' ? text === 'true' : text;
  }
  return Object.keys(parameters).length === 0 ? { name } : { name, parameters };
}

/** (2) */
function numberOf(text: string): string | number {
  return /^\s*-?\d+([.,]\d+)?\s*$/.test(text) ? Number(text.replace(',', '.')) : text;
}

/** The values among which a parameter chooses; undefined when it is free. */
export function choicesOf({ type, pattern }: Parameter): readonly string[] | undefined {
  if (type === 'boolean') return ['true', 'false'];
  const words = pattern === undefined ? undefined : /^\^\(((?:[\w.-]+\|)*[\w.-]+)\)\$$/.exec(pattern)?.[1];
  return words?.split('|');
}

// Ids of controls

export const SERVICES_CONTROL = 'services';
export function serviceControl(service: string): string {
  return `service-${service}`;
}
export function parameterControl(service: string, parameter: string): string {
  return `service-${service}-${parameter}`;
}

export interface Fault {
  /** Id of the control that it belongs to; undefined: of none. */
  readonly control: string | undefined;
  readonly text: string;
}

/** Where a refusal belongs. Fields are named by their path: `services[0].parameters.model`. */
export function faultOf(field: string | undefined, detail: string, sent: DeviceConfig, catalogue: readonly CatalogueItem[]): Fault {
  if (field === undefined) return { control: undefined, text: detail };
  const text = sentence(detail.startsWith(`The field ${field} `) ? detail.slice(`The field ${field} `.length) : detail);
  const path = field.replace(/^(config|body)\./, '');
  const [, index, parameter] = /^services\[(\d+)\](?:\.parameters\.(\w+))?/.exec(path) ?? [];
  const service = index === undefined ? undefined : sent.services?.[Number(index)]?.name;
  if (service === undefined) {
    const control = path.replace(/\[.*$/, '');
    return { control, text: control === 'customTags' ? tagFault(path, sent, text) : text };
  }
  if (parameter === undefined) return { control: serviceControl(service), text };
  const example = catalogue.find((item) => item.name === service)?.parameters?.[parameter]?.default;
  return {
    control: parameterControl(service, parameter),
    text: text.startsWith('Must match') && example !== undefined ? `Must look like this: ${example}` : text,
  };
}

function tagFault(path: string, sent: DeviceConfig, text: string): string {
  const tag = sent.customTags?.[Number(/\[(\d+)\]/.exec(path)?.[1] ?? Number.NaN)];
  if (tag === undefined) return text;
  return `“${tag}” cannot be a tag. A tag has at most 64 letters, digits and the signs . _ : / -, and begins with a letter or digit.`;
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
