const WIDTH = 30;
/** Smooth to the eye. */
const INTERVAL_MS = 200;

/** How far a feed is, in the last line of a terminal; where the output is none, it shows nothing. */
export class Progress {
  readonly #output: NodeJS.WriteStream;
  readonly #read: () => { readonly share: number; readonly sent: number };
  readonly #since = performance.now();
  #timer: NodeJS.Timeout | undefined;

  /** `share`: of the file that was read, 0 to 1; `sent`: commands. */
  constructor(output: NodeJS.WriteStream, read: () => { readonly share: number; readonly sent: number }) {
    this.#output = output;
    this.#read = read;
    if (output.isTTY) this.#timer = setInterval(() => this.#draw(), INTERVAL_MS).unref();
  }

  /** Writes a line above it. */
  say(line: string): void {
    this.#clear();
    this.#output.write(`${line}\n`);
  }

  end(): void {
    clearInterval(this.#timer);
    this.#clear();
    this.#timer = undefined;
  }

  #clear(): void {
    if (this.#timer !== undefined) this.#output.write("\r\u001b[K");
  }

  #draw(): void {
    const { share, sent } = this.#read();
    this.#output.write(`\r${progressLine(share, sent, (performance.now() - this.#since) / 1_000)}\u001b[K`);
  }
}

/** `[=====>    ]  45 %  23,456 sent  12,345/s` */
export function progressLine(share: number, sent: number, seconds: number): string {
  const done = Math.floor(share * WIDTH);
  const bar = `${"=".repeat(done)}${done < WIDTH ? ">" : ""}`.padEnd(WIDTH);
  const percent = String(Math.floor(share * 100)).padStart(3);
  const rate = seconds > 0 ? Math.round(sent / seconds) : 0;
  return `[${bar}] ${percent} %  ${sent.toLocaleString("en")} sent  ${rate.toLocaleString("en")}/s`;
}
