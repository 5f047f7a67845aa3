/** Smooth to the eye; and where nobody looks, as often as a log can bear. */
const DRAW_MS = 250;
const LINE_MS = 10_000;

/** How far a stage of a replay is: in the last line of a terminal, else a line now and then. */
export class Progress {
  readonly #output: NodeJS.WriteStream;
  #stage = "";
  #total = 0;
  #entries = 0;
  #rows = 0;
  #since = 0;
  #shownAt = 0;

  constructor(output: NodeJS.WriteStream) {
    this.#output = output;
  }

  /** `total`: entries that there are to go through, as far as it can be known. */
  begin(stage: string, total: number): void {
    this.end();
    [this.#stage, this.#total, this.#entries, this.#rows] = [stage, total, 0, 0];
    this.#since = this.#shownAt = performance.now();
  }

  add(entries: number, rows: number): void {
    this.#entries += entries;
    this.#rows += rows;
    const now = performance.now();
    if (now - this.#shownAt < (this.#output.isTTY ? DRAW_MS : LINE_MS)) return;
    this.#shownAt = now;
    const line = progressLine(this.#stage, this.#entries, this.#total, this.#rows, (now - this.#since) / 1_000);
    this.#output.write(this.#output.isTTY ? `\r${line}\u001b[K` : `${line}\n`);
  }

  /** Writes a line above it. */
  say(line: string): void {
    this.end();
    this.#output.write(`${line}\n`);
  }

  end(): void {
    if (this.#output.isTTY && this.#stage !== "") this.#output.write("\r\u001b[K");
  }
}

/** `orders from the journal: 45 % of 1,234,567 entries, 12,345 rows/s, 2 min left` */
export function progressLine(stage: string, entries: number, total: number, rows: number, seconds: number): string {
  const share = total === 0 ? 1 : Math.min(1, entries / total);
  const rate = seconds > 0 ? Math.round(rows / seconds) : 0;
  const left = share > 0 ? (seconds / share) * (1 - share) : Infinity;
  return `${stage}: ${Math.floor(share * 100)} % of ${total.toLocaleString("en")} entries, ${rate.toLocaleString("en")} rows/s, ${timeText(left)} left`;
}

function timeText(seconds: number): string {
  if (!Number.isFinite(seconds)) return "some time";
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}
