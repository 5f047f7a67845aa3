import { number } from "./report.ts";

/** Where progress is shown: a terminal, nearly always standard error. */
export interface Screen {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

const REFRESH_MS = 250;
const CLEAR_LINE = "\r\u001b[K";

/** One line on a terminal that says what is done, how fast, and how long it takes still; nothing where there is none. */
export class Progress {
  readonly #screen: Screen | undefined;
  #what = "";
  #total = 0;
  #done = 0;
  #since = 0;
  #shown = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(screen: Screen) {
    this.#screen = screen.isTTY === true ? screen : undefined;
  }

  /** Begins something; `total` is how much of it there is, 0 where nobody knows. */
  begin(what: string, total = 0): void {
    this.end();
    if (this.#screen === undefined) return;
    this.#what = what;
    this.#total = total;
    this.#done = 0;
    this.#since = this.#shown = performance.now();
    // A statement of Postgres may take minutes, and tells nothing meanwhile.
    this.#timer = setInterval(() => this.#show(), 1_000).unref();
    this.#show();
  }

  add(count: number): void {
    this.#done += count;
    if (this.#timer !== undefined && performance.now() - this.#shown > REFRESH_MS) this.#show();
  }

  /** Clears the line. */
  end(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#screen?.write(CLEAR_LINE);
  }

  #show(): void {
    this.#shown = performance.now();
    const seconds = (this.#shown - this.#since) / 1000;
    const words = [this.#what];
    const rate = this.#done / seconds;
    if (this.#done === 0 || seconds < 1) words.push(`${Math.round(seconds)} s`);
    else {
      words.push(this.#total > 0 ? `${number(this.#done)} of ${number(this.#total)}` : number(this.#done));
      words.push(`${number(Math.round(rate))}/s`);
      if (this.#total > this.#done) words.push(`${clock((this.#total - this.#done) / rate)} left`);
    }
    this.#screen?.write(`${CLEAR_LINE}  ${words.join(", ")}`);
  }
}

/** 0:07, 1:02:03. */
function clock(seconds: number): string {
  const whole = Math.ceil(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}
