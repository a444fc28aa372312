/** Controls of forms: each with its label, its hint, and what is wrong with it, tied together for those who hear the page. */
import type { ComponentChildren } from 'preact';

interface FieldProps {
  readonly id: string;
  readonly label: ComponentChildren;
  readonly hint?: ComponentChildren;
  readonly fault: string | undefined;
}

function Described({ id, hint, fault }: Omit<FieldProps, 'label'>) {
  return (
    <>
      {hint === undefined ? null : (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      <p class="fault" id={`${id}-fault`}>
        {fault}
      </p>
    </>
  );
}

function described({ id, hint, fault }: Omit<FieldProps, 'label'>) {
  return {
    'aria-describedby': hint === undefined ? `${id}-fault` : `${id}-hint ${id}-fault`,
    ...(fault === undefined ? {} : { 'aria-invalid': 'true' as const }),
  };
}

interface TextProps extends FieldProps {
  readonly value: string;
  readonly placeholder?: string | undefined;
  readonly numeric?: boolean;
  onValue(value: string): void;
}

/** A number is typed as text: the field for numbers changes under a scrolling wheel and hides what is not a number. */
export function TextField({ value, placeholder, numeric = false, onValue, ...field }: TextProps) {
  return (
    <div class="field">
      <label for={field.id}>{field.label}</label>
      <input
        id={field.id}
        value={value}
        placeholder={placeholder ?? ''}
        inputMode={numeric ? 'decimal' : 'text'}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => onValue(event.currentTarget.value)}
        {...described(field)}
      />
      <Described {...field} />
    </div>
  );
}

interface SelectProps extends FieldProps {
  readonly value: string;
  readonly options: readonly (readonly [value: string, text: string])[];
  onValue(value: string): void;
}

export function SelectField({ value, options, onValue, ...field }: SelectProps) {
  return (
    <div class="field">
      <label for={field.id}>{field.label}</label>
      <select id={field.id} value={value} onChange={(event) => onValue(event.currentTarget.value)} {...described(field)}>
        {options.map(([each, text]) => (
          <option key={each} value={each}>
            {text}
          </option>
        ))}
      </select>
      <Described {...field} />
    </div>
  );
}

interface CheckProps extends FieldProps {
  readonly checked: boolean;
  onValue(checked: boolean): void;
}

export function CheckField({ checked, onValue, ...field }: CheckProps) {
  return (
    <div class="field">
      <label class="check">
        <input id={field.id} type="checkbox" checked={checked} onChange={(event) => onValue(event.currentTarget.checked)} {...described(field)} />
        <span>{field.label}</span>
      </label>
      <div class="indented">
        <Described {...field} />
      </div>
    </div>
  );
}
