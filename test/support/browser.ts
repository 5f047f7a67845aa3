import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

/** What the set-up step unpacked where it may not install. */
const UNPACKED = join(import.meta.dirname, "..", "..", ".penstock", "chromium", "bin", "chromium");
const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** The program, as the set-up step looks for it. */
function findChromium(): string {
  const named = process.env["PENSTOCK_CHROMIUM"];
  if (named) return named;
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const found = [...NAMES.flatMap((name) => folders.map((folder) => join(folder, name))), UNPACKED].find(existsSync);
  if (found === undefined)
    throw new Error("there is no Chromium: `npm test` gets one, or name one by PENSTOCK_CHROMIUM");
  return found;
}

/** A Chromium without a window; who opens it closes it. */
export async function openBrowser(): Promise<Browser> {
  return await chromium.launch({ executablePath: findChromium(), args: ["--disable-dev-shm-usage"] });
}

export interface Person {
  readonly account: string;
  readonly secret: string;
}

/** What went wrong in a window: errors of scripts, and what the content security policy refused. */
export type Troubles = string[];

/** A window of its own, as on a machine of its own, at the sign-in of the page. */
export async function openWindow(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; troubles: Troubles }> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  const troubles: Troubles = [];
  page.on("pageerror", (error) => troubles.push(error.message));
  page.on("console", (message) => {
    // A server that is away is no fault of the page's.
    const isNetwork = message.text().startsWith("Failed to load resource");
    if (message.type() === "error" && !isNetwork) troubles.push(message.text());
  });
  await page.goto(url);
  return { page, troubles };
}

export async function signIn(page: Page, { account, secret }: Person): Promise<void> {
  await page.getByLabel("Account").fill(account);
  await page.getByLabel("Secret").fill(secret);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("Live", { exact: true }).first().waitFor();
}
