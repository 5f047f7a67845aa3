import type { ComponentChildren, InputHTMLAttributes, Ref } from "preact";
import { useId } from "preact/hooks";

interface Labelled {
  readonly label: string;
  /** What is wrong with it. */
  readonly error?: string | undefined;
  /** What helps to fill it in. */
  readonly hint?: string | undefined;
}

type FieldProps = Labelled & {
  readonly value: string;
  readonly onInput: (value: string) => void;
  readonly inputRef?: Ref<HTMLInputElement>;
  readonly type?: "text" | "password" | "datetime-local" | "search";
  readonly inputMode?: "decimal" | "text";
  readonly autoComplete?: "username" | "current-password" | "off";
  readonly spellcheck?: boolean;
  readonly required?: boolean;
  /** It stays where it is and can be read, and keeps the focus. */
  readonly readOnly?: boolean;
  readonly step?: string;
};

/** An input with its label, and with what is wrong with it beside it. */
export function Field({ label, error, hint, value, onInput, inputRef, ...input }: FieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        ref={inputRef ?? null}
        value={value}
        onInput={(event) => onInput(event.currentTarget.value)}
        aria-invalid={error === undefined ? undefined : true}
        aria-describedby={describedBy(id, error, hint)}
        // Preact's types are one for each type of an input.
        {...(input as InputHTMLAttributes)}
      />
      <Beside id={id} error={error} hint={hint} />
    </div>
  );
}

/** A number without exponent or sign, as text: it is never a float. */
export function DecimalField(props: Omit<FieldProps, "type" | "inputMode" | "autoComplete">) {
  return <Field {...props} inputMode="decimal" autoComplete="off" spellcheck={false} />;
}

type ChoiceProps<T extends number> = Labelled & {
  readonly value: T;
  readonly options: readonly { readonly value: T; readonly name: string }[];
  readonly onChange: (value: T) => void;
  readonly disabled?: boolean;
};

/** One of a few, each with a number. */
export function Choice<T extends number>({ label, error, hint, value, options, onChange, disabled }: ChoiceProps<T>) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select
        id={id}
        value={String(value)}
        disabled={disabled ?? false}
        onChange={(event) => onChange(Number(event.currentTarget.value) as T)}
        aria-invalid={error === undefined ? undefined : true}
        aria-describedby={describedBy(id, error, hint)}
      >
        {options.map((option) => (
          <option key={option.value} value={String(option.value)}>
            {option.name}
          </option>
        ))}
      </select>
      <Beside id={id} error={error} hint={hint} />
    </div>
  );
}

type CheckProps = Labelled & {
  readonly checked: boolean;
  readonly onChange: (checked: boolean) => void;
  readonly disabled?: boolean;
};

export function Check({ label, error, hint, checked, onChange, disabled }: CheckProps) {
  const id = useId();
  return (
    <div class="field">
      <label class="check">
        <input
          type="checkbox"
          checked={checked}
          disabled={disabled ?? false}
          onChange={(event) => onChange(event.currentTarget.checked)}
          aria-describedby={describedBy(id, error, hint)}
        />
        {label}
      </label>
      <Beside id={id} error={error} hint={hint} />
    </div>
  );
}

function describedBy(id: string, error: string | undefined, hint: string | undefined): string | undefined {
  const ids = [hint === undefined ? "" : `${id}-hint`, error === undefined ? "" : `${id}-error`].join(" ").trim();
  return ids === "" ? undefined : ids;
}

function Beside({ id, error, hint }: { id: string; error: string | undefined; hint: string | undefined }) {
  return (
    <>
      {hint !== undefined && (
        <small id={`${id}-hint`} class="hint">
          {hint}
        </small>
      )}
      {error !== undefined && (
        <small id={`${id}-error`} class="error">
          {error}
        </small>
      )}
    </>
  );
}

/** A few buttons of which one is pressed. */
export function Segments<T extends string | number>(props: {
  readonly label: string;
  readonly value: T;
  readonly options: readonly { readonly value: T; readonly name: ComponentChildren; readonly class?: string }[];
  readonly onChange: (value: T) => void;
  readonly disabled?: boolean;
}) {
  const { label, value, options, onChange, disabled } = props;
  return (
    <div class="segments" role="group" aria-label={label}>
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          class={option.class ?? ""}
          aria-pressed={option.value === value}
          disabled={disabled ?? false}
          onClick={() => onChange(option.value)}
        >
          {option.name}
        </button>
      ))}
    </div>
  );
}
