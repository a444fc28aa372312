/** The services of the catalogue to choose from, each with what it needs, what speaks against it, and its parameters once it is chosen. */
import type { CatalogueItem } from '../../src/protocol/catalogue-item.ts';
import { CheckField, SelectField, TextField } from './controls.tsx';
import { needsText, obstacleOf, type NodeRoom } from './node-room.ts';
import { choicesOf, parameterControl, serviceControl, serviceValues, type Fault, type Parameter, type ServiceValues, type SetupValues } from './setup-model.ts';

const KINDS = [
  ['llm', 'Language models'],
  ['embedding', 'Embeddings'],
  ['database', 'Databases'],
  ['other', 'Other services'],
] as const;

interface ChoiceProps {
  readonly catalogue: readonly CatalogueItem[];
  readonly room: NodeRoom | undefined;
  /** Names of services of the saved configuration. */
  readonly saved: readonly string[];
  readonly values: SetupValues;
  readonly fault: Fault | undefined;
  onService(name: string, values: ServiceValues): void;
}

export function ServiceChoices(props: ChoiceProps) {
  const known = KINDS.map(([kind]) => kind as string);
  const foreign = props.saved.filter((name) => props.catalogue.every((item) => item.name !== name));
  return (
    <>
      {KINDS.map(([kind, title]) => {
        const items = props.catalogue.filter((item) => item.kind === kind || (kind === 'other' && !known.includes(item.kind)));
        return items.length === 0 ? null : (
          <fieldset key={kind}>
            <legend>{title}</legend>
            {items.map((item) => (
              <Choice key={item.name} item={item} {...props} />
            ))}
          </fieldset>
        );
      })}
      {foreign.length === 0 ? null : (
        <fieldset>
          <legend>From the node’s own catalogue</legend>
          {foreign.map((name) => (
            <CheckField
              key={name}
              id={serviceControl(name)}
              label={name}
              fault={faultAt(props.fault, serviceControl(name))}
              checked={serviceValues(props.values, name).chosen}
              onValue={(chosen) => props.onService(name, { ...serviceValues(props.values, name), chosen })}
            />
          ))}
        </fieldset>
      )}
    </>
  );
}

function faultAt(fault: Fault | undefined, control: string): string | undefined {
  return fault?.control === control ? fault.text : undefined;
}

function Choice({ item, room, saved, values, fault, onService }: Omit<ChoiceProps, 'catalogue'> & { readonly item: CatalogueItem }) {
  const own = serviceValues(values, item.name);
  const obstacle = saved.includes(item.name) ? undefined : obstacleOf(item, room);
  const goesOn = saved.includes(item.name) && !own.chosen && !values.replaceServices;
  const parameters = Object.entries(item.parameters ?? {});
  return (
    <div class="service">
      <CheckField
        id={serviceControl(item.name)}
        label={
          <>
            <b>{item.title}</b> <code>{item.name}</code>
          </>
        }
        hint={
          <>
            {item.description}
            <br />
            {needsText(item)}
            {obstacle === undefined ? null : (
              <>
                <br />
                <span class="state degraded">{obstacle}</span>
              </>
            )}
            {goesOn ? (
              <>
                <br />
                <span class="state degraded">It goes on running unless services that are not chosen are stopped (below).</span>
              </>
            ) : null}
          </>
        }
        fault={faultAt(fault, serviceControl(item.name))}
        checked={own.chosen}
        onValue={(chosen) => onService(item.name, { ...own, chosen })}
      />
      {own.chosen && parameters.length > 0 ? (
        <div class="indented parameters" role="group" aria-label={`Parameters of ${item.title}`}>
          {parameters.map(([name, parameter]) => (
            <ParameterField
              key={name}
              id={parameterControl(item.name, name)}
              name={name}
              parameter={parameter}
              value={own.parameters[name] ?? ''}
              fault={faultAt(fault, parameterControl(item.name, name))}
              onValue={(value) => onService(item.name, { ...own, parameters: { ...own.parameters, [name]: value } })}
            />
          ))}
        </div>
      ) : null}
    </div>
  );
}

interface ParameterProps {
  readonly id: string;
  readonly name: string;
  readonly parameter: Parameter;
  readonly value: string;
  readonly fault: string | undefined;
  onValue(value: string): void;
}

function ParameterField({ id, name, parameter, value, fault, onValue }: ParameterProps) {
  const { description, type, min, max, required } = parameter;
  const preset = parameter.default;
  const choices = choicesOf(parameter);
  const range = type === 'integer' && min !== undefined && max !== undefined ? ` From ${min} to ${max}.` : '';
  const label = required === true && preset === undefined ? `${wordsOf(name)} (needed)` : wordsOf(name);
  if (choices !== undefined) {
    const words: { readonly [choice: string]: string } = type === 'boolean' ? { true: 'yes', false: 'no' } : {};
    const options = [['', preset === undefined ? 'as the service decides' : `${words[String(preset)] ?? preset} (default)`] as const].concat(
      choices.filter((choice) => choice !== String(preset)).map((choice) => [choice, words[choice] ?? choice] as const) as never,
    );
    return (
      <SelectField id={id} label={label} hint={description} fault={fault} value={value === String(preset) ? '' : value} options={options} onValue={onValue} />
    );
  }
  return (
    <TextField
      id={id}
      label={label}
      hint={`${description}${range}${preset === undefined ? '' : ' Empty: the default.'}`}
      fault={fault}
      value={value}
      placeholder={preset === undefined ? 'as the service decides' : String(preset)}
      numeric={type === 'integer'}
      onValue={onValue}
    />
  );
}

/** `gpuMemoryPercent` as `GPU memory percent`. */
function wordsOf(name: string): string {
  const words = name
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .replace(/^gpu\b/, 'GPU');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
