/** A line of a panel: seconds and values; a gap where a value is NaN. */
export interface Line {
  readonly name: string;
  readonly points: readonly (readonly [at: number, value: number])[];
}

export interface Panel {
  readonly title: string;
  /** How a value is written at the axis. */
  readonly format: (value: number) => string;
  /** Powers of ten at the axis in place of steps. */
  readonly logarithmic?: boolean;
  readonly lines: readonly Line[];
}

/** A moment to be marked in all panels, with a letter above. */
export interface Mark {
  readonly at: number;
  readonly letter: string;
}

const WIDTH = 960;
const LEFT = 70;
const RIGHT = 130;
const PANEL = 110;
const GAP = 34;
const TOP = 40;
const PLOT = WIDTH - LEFT - RIGHT;
/** For the eye one colour a line; these differ for those who do not see red and green apart, too (Okabe and Ito). */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a7a00"];

/** Panels below each other over the same time, as SVG. A line of many points is drawn by its highest in each pixel. */
export function plot(panels: readonly Panel[], marks: readonly Mark[], seconds: number): string {
  const height = TOP + panels.length * (PANEL + GAP) + 20;
  const x = (at: number): number => LEFT + (at / Math.max(1, seconds)) * PLOT;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
  ];
  for (const { at, letter } of marks) {
    parts.push(
      `<line x1="${fixed(x(at))}" x2="${fixed(x(at))}" y1="${TOP - 12}" y2="${height - 30}" stroke="#ccc" stroke-width="1"/>`,
      text(x(at), TOP - 16, letter, "middle", "#777"),
    );
  }
  for (const [i, panel] of panels.entries()) parts.push(...drawn(panel, TOP + i * (PANEL + GAP), x));
  const bottom = height - 12;
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(text(LEFT + share * PLOT, bottom, clock(share * seconds), "middle", "#333"));
  }
  return `${[...parts, "</svg>"].join("\n")}\n`;
}

function drawn({ title, format, lines, logarithmic = false }: Panel, top: number, x: (at: number) => number): string[] {
  const values = lines.flatMap(({ points }) => points.map(([, value]) => value)).filter(Number.isFinite);
  const positive = values.filter((value) => value > 0);
  const most = values.reduce((a, b) => Math.max(a, b), 0) || 1;
  const least = logarithmic ? positive.reduce((a, b) => Math.min(a, b), most) : 0;
  const scale = (value: number): number => (logarithmic ? Math.log10(Math.max(value, least)) : value);
  const [low, high] = logarithmic ? [Math.floor(scale(least)), Math.ceil(scale(most)) || 1] : [0, most * 1.05];
  const y = (value: number): number => top + PANEL - ((scale(value) - low) / Math.max(high - low, 1e-9)) * PANEL;
  const ticks = logarithmic ? Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)) : [0, most / 2, most];
  const parts = [
    `<rect x="${LEFT}" y="${top}" width="${PLOT}" height="${PANEL}" fill="none" stroke="#999"/>`,
    text(LEFT, top - 5, title, "start", "#000"),
    ...ticks.flatMap((tick) => [
      `<line x1="${LEFT}" x2="${LEFT + PLOT}" y1="${fixed(y(tick))}" y2="${fixed(y(tick))}" stroke="#eee"/>`,
      text(LEFT - 5, y(tick) + 4, format(tick), "end", "#333"),
    ]),
  ];
  for (const [i, { name, points }] of lines.entries()) {
    const colour = COLOURS[i % COLOURS.length] ?? "#000";
    for (const stretch of stretches(points, x, y)) {
      parts.push(`<polyline fill="none" stroke="${colour}" stroke-width="1.2" points="${stretch}"/>`);
    }
    parts.push(text(LEFT + PLOT + 8, top + 12 + 13 * i, name, "start", colour));
  }
  return parts;
}

/** The points of each unbroken piece of a line, thinned to one a pixel. */
function stretches(points: Line["points"], x: (at: number) => number, y: (value: number) => number): string[] {
  const pieces: string[][] = [[]];
  let pixel = -1;
  let highest = Infinity;
  const flush = (): void => {
    if (pixel >= 0) pieces.at(-1)!.push(`${pixel},${fixed(highest)}`);
    pixel = -1;
    highest = Infinity;
  };
  for (const [at, value] of points) {
    if (!Number.isFinite(value)) {
      flush();
      if (pieces.at(-1)!.length > 0) pieces.push([]);
      continue;
    }
    if (Math.round(x(at)) !== pixel) flush();
    pixel = Math.round(x(at));
    highest = Math.min(highest, y(value)); // y grows downwards
  }
  flush();
  return pieces.filter((piece) => piece.length > 1).map((piece) => piece.join(" "));
}

function text(x: number, y: number, words: string, anchor: "start" | "middle" | "end", fill: string): string {
  const safe = words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${fixed(x)}" y="${fixed(y)}" text-anchor="${anchor}" fill="${fill}">${safe}</text>`;
}

function fixed(value: number): string {
  return value.toFixed(1);
}

/** 1:23:45 */
function clock(seconds: number): string {
  const whole = Math.round(seconds);
  const digits = (value: number) => String(value).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${digits(Math.floor(whole / 60) % 60)}:${digits(whole % 60)}`;
}
