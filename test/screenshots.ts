/** Each screen of the page in both themes, as it stands: `npm run screenshots` writes docs/screens. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import type { Page } from "playwright-core";

import { AdminService, Role } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { openBrowser, openWindow, signIn } from "./support/browser.ts";
import { DemoMarket } from "./support/demo-market.ts";
import { EngineStack } from "./support/engine-stack.ts";
import { defineInstrument, startConsumers } from "./support/pipeline.ts";

const FOLDER = join(import.meta.dirname, "..", "docs", "screens");
const THEMES = ["light", "dark"] as const;
/** A laptop's window, and a small phone. */
const DESKTOP = { width: 1440, height: 900 };
const PHONE = { width: 360, height: 740 };
/** What the pipeline's lines need to show something. */
const MINUTE_S = 20;

async function shoot(page: Page, name: string, full = false): Promise<void> {
  for (const colorScheme of THEMES) {
    await page.emulateMedia({ colorScheme });
    await page.waitForTimeout(300); // charts are painted in the next frames
    await page.screenshot({ path: join(FOLDER, `${name}-${colorScheme}.png`), fullPage: full });
  }
}

test("screenshots", { timeout: 300_000 }, async (t) => {
  await mkdir(FOLDER, { recursive: true });
  const browser = await openBrowser();
  t.after(() => browser.close());
  const stack = await EngineStack.open(t);
  await stack.engine();
  await startConsumers(t, stack.servers);
  for (const symbol of ["ETH-USD", "ACME"]) await defineInstrument(stack.ingest, symbol);
  const market = new DemoMarket(stack.client, "BTC-USD");
  await market.fillBook();
  const someone = await stack.admin.call(AdminService.method.createAccount, { account: "mira", role: Role.ADMIN });
  const { page } = await openWindow(browser, stack.ingest.http, { viewport: DESKTOP });
  await shoot(page, "sign-in");
  await signIn(page, someone);
  await page.getByRole("link", { name: "BTC-USD" }).click();

  const order = async (side: "Buy" | "Sell", quantity: string, price: string): Promise<void> => {
    await page.getByRole("group", { name: "Side" }).getByRole("button", { name: side }).click();
    await page.getByLabel("Quantity", { exact: true }).fill(quantity);
    await page.getByLabel("Price", { exact: true }).fill(price);
    await page.locator("button.send").click();
    await page.locator(".outcome a").waitFor();
  };
  await order("Buy", "0.75", "64110.50");
  await order("Sell", "1.2", "64131.00");
  for (let second = 0; second < MINUTE_S; second++) {
    await Promise.all([market.trade(3), market.quote(12), page.waitForTimeout(1_000)]);
  }
  await order("Buy", "2.5", "64136.00");
  await order("Buy", "0.4", "64101.25");
  await page
    .getByRole("group", { name: "Length of a candle" })
    .getByRole("button", { name: "1 s", exact: true })
    .click();
  await page.waitForTimeout(9_000); // the notices go
  await shoot(page, "trade");
  await page.setViewportSize(PHONE);
  await shoot(page, "trade-phone");
  await page.setViewportSize(DESKTOP);
  await page.locator(".outcome a").click();
  await page.locator(".stages li:nth-child(5).done").waitFor();
  await shoot(page, "order");
  await page.getByRole("link", { name: "Pipeline" }).click();
  await page.getByText("Orders are taken").waitFor();
  for (let second = 0; second < MINUTE_S; second++) {
    await Promise.all([market.trade(2 + (second % 5)), market.quote(10 + second * 2), page.waitForTimeout(1_000)]);
  }
  await shoot(page, "pipeline", true);
  await page.getByRole("link", { name: "Replay" }).click();
  await page.getByLabel("Symbol").selectOption("BTC-USD");
  await page.locator(".replayed").waitFor();
  await page.getByRole("button", { name: "Back" }).click();
  await shoot(page, "replay");
  await page.getByRole("link", { name: "Trade" }).click();
  await page.getByRole("button", { name: "Keyboard shortcuts" }).click();
  await shoot(page, "help");
});
