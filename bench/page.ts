import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { openBrowser } from "../test/support/browser.ts";
import type { Durations } from "./bencher.ts";
import { describeMachine } from "./measure/machine.ts";
import { send } from "./measure/measure.ts";
import { median, table } from "./measure/table.ts";
import type { Stack } from "./stack.ts";
import type { Stacks } from "./stacks.ts";

const SYMBOL = "BTC-USD";
const VIEWPORT = { width: 1440, height: 900 };
/** Orders a second, each of which changes the book. */
const RATES = [0, 100, 1_000] as const;
/** At 60 a second a frame comes each 16.7 ms: later than that by half is one that was missed. */
const LATE_MS = 25;

/** The web page: what the first load takes, and whether it keeps up with the book. */
export async function* measurePage(stacks: Stacks, durations: Durations): AsyncGenerator<string> {
  const stack = await stacks.start({ engine: true });
  const browser = await openBrowser();
  try {
    yield "# The page";
    yield "Written by `penstock bench page`: the page in a Chromium without a window and without a graphics card, beside the servers.";
    yield describeMachine({ ...stack.versions, Chromium: browser.version() });
    yield "## First load";
    yield await firstLoad(browser, stack, durations.runs);
    yield "## Frames while the book changes";
    yield (
      `Runs of ${durations.seconds} s. Versions are those of the book that the page was told of and verified by their checksum; a late ` +
      `frame came more than ${LATE_MS} ms behind the one before; busy is the share of time that the page's one thread worked.`
    );
    const rows: (readonly string[])[] = [];
    for (const rate of RATES) rows.push(await frames(browser, stack, rate, durations));
    yield table(
      ["orders/s", "book versions/s", "frames/s", "late frames", "longest gap ms", "book drawn/s", "busy", "scripts"],
      rows,
    );
  } finally {
    await browser.close();
  }
}

/** A window of its own, signed in by the token that a session would have. */
async function openPage(browser: Browser, { httpUrl, adminToken }: Stack): Promise<Page> {
  const context = await browser.newContext({ viewport: VIEWPORT });
  await context.addCookies([{ name: "penstock", value: adminToken, url: httpUrl, httpOnly: true, sameSite: "Strict" }]);
  return await context.newPage();
}

interface Loaded {
  readonly requests: number;
  /** As they came over the wire, and unpacked. */
  readonly bytes: number;
  readonly unpacked: number;
  readonly painted: number;
  readonly live: number;
}

/** Milliseconds since the address was opened, and bytes; in the page. */
const LOADED = `(() => {
  const files = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .filter(({ name }) => !name.includes("penstock.v1"));
  const sum = (field) => files.reduce((total, file) => total + file[field], 0);
  return {
    requests: files.length,
    bytes: sum("encodedBodySize"),
    unpacked: sum("decodedBodySize"),
    painted: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN,
    live: performance.now(),
  };
})()`;

async function firstLoad(browser: Browser, stack: Stack, runs: number): Promise<string> {
  const loads: Loaded[] = [];
  for (let run = 0; run < runs; run++) {
    const page = await openPage(browser, stack);
    await page.goto(stack.httpUrl);
    await page.getByText("Live", { exact: true }).first().waitFor();
    await page.locator(".chart canvas").first().waitFor();
    loads.push(await page.evaluate<Loaded>(LOADED));
    await page.context().close();
  }
  const of = (pick: (load: Loaded) => number): number => median(loads.map(pick));
  const kilobytes = (bytes: number): string => (bytes / 1000).toFixed(0);
  return table(
    ["", "files", "kB over the wire", "kB unpacked", "first paint ms", "live, with the chart, ms"],
    [
      [
        "trading, nothing cached",
        String(of(({ requests }) => requests)),
        kilobytes(of(({ bytes }) => bytes)),
        kilobytes(of(({ unpacked }) => unpacked)),
        of(({ painted }) => painted).toFixed(0),
        of(({ live }) => live).toFixed(0),
      ],
    ],
  );
}

interface Seen {
  /** Milliseconds between frames. */
  readonly gaps: readonly number[];
  /** Frames in which the book's table changed. */
  readonly drawn: number;
}

/** Counts frames for so many milliseconds; in the page. */
const seen = (ms: number): string => `new Promise((resolve) => {
  const gaps = [];
  let drawn = 0;
  let changed = false;
  const watch = new MutationObserver(() => (changed = true));
  watch.observe(document.querySelector(".ladder"), { subtree: true, childList: true, characterData: true, attributes: true });
  let last = performance.now();
  const end = last + ${ms};
  const frame = (now) => {
    gaps.push(now - last);
    last = now;
    drawn += Number(changed);
    changed = false;
    if (now < end) requestAnimationFrame(frame);
    else resolve({ gaps, drawn });
  };
  requestAnimationFrame(frame);
})`;

async function frames(browser: Browser, stack: Stack, rate: number, durations: Durations): Promise<readonly string[]> {
  const { seconds, warmupSeconds } = durations;
  const page = await openPage(browser, stack);
  await page.goto(`${stack.httpUrl}/#/trade/${SYMBOL}`);
  await page.getByText("Live", { exact: true }).first().waitFor();
  const load = { rate, seconds: seconds + 1, warmupSeconds, batch: 0 };
  const record = join(tmpdir(), `penstock-page-${process.pid}.tsv`);
  const sent = rate === 0 ? undefined : send(stack.target, load, record);
  await page.waitForTimeout((warmupSeconds + 0.5) * 1000);
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable");
  const before = { version: await versionOf(stack), metrics: await metricsOf(devtools) };
  const { gaps, drawn } = await page.evaluate<Seen>(seen(seconds * 1000));
  const after = { version: await versionOf(stack), metrics: await metricsOf(devtools) };
  await sent;
  await rm(record, { force: true });
  const shown = await page.getByText("Live", { exact: true }).first().isVisible();
  if (!shown) throw new Error("the page lost its stream");
  await page.context().close();
  const took = after.metrics.at - before.metrics.at;
  const share = (name: "task" | "script"): string =>
    `${(((after.metrics[name] - before.metrics[name]) / took) * 100).toFixed(0)} %`;
  return [
    rate.toLocaleString("en"),
    ((after.version - before.version) / took).toFixed(0),
    ((gaps.length / gaps.reduce((sum, gap) => sum + gap, 0)) * 1000).toFixed(1),
    `${gaps.filter((gap) => gap > LATE_MS).length} of ${gaps.length}`,
    Math.max(...gaps).toFixed(0),
    (drawn / seconds).toFixed(1),
    share("task"),
    share("script"),
  ];
}

interface DevTools {
  send(method: "Performance.getMetrics"): Promise<{ metrics: { name: string; value: number }[] }>;
}

/** Seconds: now, and what the page's thread has worked. */
async function metricsOf(devtools: DevTools): Promise<{ at: number; task: number; script: number }> {
  const { metrics } = await devtools.send("Performance.getMetrics");
  const of = (name: string): number => metrics.find((metric) => metric.name === name)?.value ?? NaN;
  return { at: of("Timestamp"), task: of("TaskDuration"), script: of("ScriptDuration") };
}

async function versionOf({ httpUrl, adminToken }: Stack): Promise<number> {
  const response = await fetch(`${httpUrl}/penstock.v1.MarketDataService/GetBook`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${adminToken}` },
    body: JSON.stringify({ symbol: SYMBOL }),
  });
  const { book } = (await response.json()) as { book?: { version?: string } };
  return Number(book?.version ?? 0);
}
