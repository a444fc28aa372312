/**
 * The parameters of a service: from a configuration into the container's environment and arguments.
 *
 * 1. Only what the catalogue declares, of the declared type, within its bounds or its anchored pattern.
 * 2. A value becomes one argument or one variable, as a whole: no shell parses it, and none begins with a dash, so none is taken for a flag.
 */
import type { ServiceChoice } from '../protocol/device-config.ts';
import { InvalidConfigError } from '../protocol/errors.ts';
import type { CatalogueParameter, CatalogueService } from './catalogue.ts';
import { fieldPath, isPlainObject } from './config-bounds.ts';

type ParameterValue = string | number | boolean;

/** What is given, checked, in the catalogue's order; defaults are not filled in, so that a later catalogue may better them. */
export function parseParameters(service: CatalogueService, given: unknown, field: string): { readonly [parameter: string]: ParameterValue } {
  if (!isPlainObject(given)) throw new InvalidConfigError(field, 'must be an object of parameters.');
  const declared = new Map(Object.entries(service.parameters ?? {}));
  for (const name of Object.keys(given))
    if (!declared.has(name))
      throw new InvalidConfigError(fieldPath(field, name), `is no parameter of ${service.name}. It has ${[...declared.keys()].join(', ') || 'none'}.`);

  const values: { [parameter: string]: ParameterValue } = {};
  for (const [name, parameter] of declared) {
    const value = given[name] ?? undefined;
    if (value !== undefined) values[name] = checked(parameter, value, fieldPath(field, name));
    else if (parameter.required === true && parameter.default === undefined) throw new InvalidConfigError(fieldPath(field, name), 'is needed.');
  }
  return values;
}

function checked(parameter: CatalogueParameter, value: unknown, field: string): ParameterValue {
  switch (parameter.type) {
    case 'boolean':
      if (typeof value !== 'boolean') throw new InvalidConfigError(field, 'must be true or false.');
      return value;
    case 'integer':
      if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw new InvalidConfigError(field, 'must be a whole number.');
      if (value < (parameter.min ?? value) || value > (parameter.max ?? value))
        throw new InvalidConfigError(field, `must be from ${parameter.min ?? 'any'} to ${parameter.max ?? 'any'}.`);
      return value === 0 ? 0 : value;
    case 'string':
      if (typeof value !== 'string') throw new InvalidConfigError(field, 'must be a text.');
      // `$` without the flag m matches only the end; a line end inside is refused all the same.
      if (value.startsWith('-') || /[\0\r\n]/.test(value) || (parameter.pattern !== undefined && !new RegExp(parameter.pattern, 'u').test(value)))
        throw new InvalidConfigError(field, `must match ${parameter.pattern ?? 'a line that does not begin with a dash'}.`);
      return value;
  }
}

export interface ContainerSettings {
  /** The container's command; undefined: the image's own. */
  readonly command?: readonly string[];
  readonly env: { readonly [name: string]: string };
}

/** What a service is started with: the catalogue's own command and environment, then the parameters that were chosen or have a default. */
export function containerSettings(service: CatalogueService, choice: ServiceChoice): ContainerSettings {
  const env: { [name: string]: string } = { ...service.env };
  const args: string[] = [];
  for (const [name, parameter] of Object.entries(service.parameters ?? {})) {
    const value = choice.parameters?.[name] ?? parameter.default;
    if (value === undefined) continue;
    const text = String(value);
    if (parameter.env !== undefined) env[parameter.env] = (parameter.format ?? '{}').replaceAll('{}', () => text);
    for (const arg of parameter.args ?? []) args.push(arg.replaceAll('{}', () => text));
  }
  return service.command === undefined && args.length === 0 ? { env } : { command: [...(service.command ?? []), ...args], env };
}
