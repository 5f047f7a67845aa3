import { type ReadonlySignal, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "penstock.theme";
const NEXT: Readonly<Record<Theme, Theme>> = { system: "light", light: "dark", dark: "system" };

/** Light, dark, or as the machine has it. The styles follow the attribute of the page's root. */
export class ThemeChoice {
  readonly #theme = signal<Theme>("system");
  /** Counts changes of what is seen, for those who draw without styles. */
  readonly #seen = signal(0);

  constructor() {
    const stored = localStorage.getItem(KEY);
    if (stored === "light" || stored === "dark") this.#set(stored);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#seen.value++);
  }

  get theme(): ReadonlySignal<Theme> {
    return this.#theme;
  }

  /** Reading it is what binds a drawing to it. */
  get seen(): number {
    return this.#seen.value;
  }

  next(): void {
    this.#set(NEXT[this.#theme.peek()]);
  }

  #set(theme: Theme): void {
    this.#theme.value = theme;
    if (theme === "system") {
      delete document.documentElement.dataset["theme"];
      localStorage.removeItem(KEY);
    } else {
      document.documentElement.dataset["theme"] = theme;
      localStorage.setItem(KEY, theme);
    }
    this.#seen.value++;
  }
}

/** What a colour of the styles is at present, for a canvas: "rgb(…)". */
export function colourOf(token: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
