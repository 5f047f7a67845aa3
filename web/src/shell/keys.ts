import { type ReadonlySignal, signal } from "@preact/signals";

export interface Shortcut {
  /** As `KeyboardEvent.key` gives it. */
  readonly key: string;
  readonly what: string;
  readonly run: () => void;
}

const KEY = "penstock.shortcuts";
/** A help that was just closed may still have its checkbox focused. */
const TYPED_IN = 'input:not([type="checkbox"], [type="range"]), select, textarea, [contenteditable]';

/**
 * Single keys that do something, while nobody types. Whoever uses speech or types by mistake can turn them off; "?" and what is in
 * the help stay.
 */
export class Keys {
  readonly #shortcuts = signal<readonly Shortcut[]>([]);
  readonly #on = signal(localStorage.getItem(KEY) !== "off");

  constructor() {
    addEventListener("keydown", (event) => this.#press(event));
  }

  /** Those that do something where one is. */
  get shortcuts(): ReadonlySignal<readonly Shortcut[]> {
    return this.#shortcuts;
  }

  get on(): ReadonlySignal<boolean> {
    return this.#on;
  }

  turn(on: boolean): void {
    this.#on.value = on;
    localStorage.setItem(KEY, on ? "on" : "off");
  }

  add(shortcut: Shortcut): () => void {
    this.#shortcuts.value = [...this.#shortcuts.peek(), shortcut];
    return () => {
      this.#shortcuts.value = this.#shortcuts.peek().filter((other) => other !== shortcut);
    };
  }

  #press(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (document.querySelector("dialog[open]") !== null) return;
    if (isTyping(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (!this.#on.peek() && event.key !== "?") return;
    const shortcut = this.#shortcuts.peek().findLast(({ key }) => key === event.key);
    if (shortcut === undefined) return;
    event.preventDefault();
    shortcut.run();
  }
}

function isTyping(target: EventTarget | null): target is HTMLElement {
  return target instanceof HTMLElement && target.matches(TYPED_IN);
}
