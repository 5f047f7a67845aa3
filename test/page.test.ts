/** The page in a real Chromium, against the whole stack as processes. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { AxeResults } from "axe-core";
import type { Browser, Page } from "playwright-core";

import { AdminService, Role } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { OrderType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { settlePort } from "../src/stack/ports.ts";
import { openBrowser, openWindow, type Person, signIn } from "./support/browser.ts";
import { EngineStack } from "./support/engine-stack.ts";
import { startConsumers, startEngine, startIngest } from "./support/pipeline.ts";

const SYMBOL = "BTC-USD";
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

interface Stage {
  readonly stack: EngineStack;
  readonly browser: Browser;
  readonly url: string;
  /** Makes an account; they do not know each other. */
  person(role?: Role): Promise<Person>;
  /** A window in which somebody is signed in, of a new account where none is given. What went wrong in it fails the test. */
  window(t: TestContext, person?: Person): Promise<Page>;
}

async function open(t: TestContext): Promise<Stage> {
  const browser = await openBrowser();
  // Before what it talks to.
  t.after(() => browser.close());
  const httpPort = await settlePort("127.0.0.1", { port: 0, exact: false });
  const env = { PENSTOCK_HTTP_PORT: String(httpPort) };
  const stack = await EngineStack.open(t, { env });
  const others = { ...stack.servers, env: { ...stack.servers.env, PENSTOCK_HTTP_PORT: "0" } };
  await Promise.all([startEngine(t, others), startConsumers(t, others)]);
  const url = `http://127.0.0.1:${httpPort}/`;
  let people = 0;
  const person = async (role = Role.TRADER): Promise<Person> => {
    const request = { account: `person-${++people}`, role };
    return await stack.admin.call(AdminService.method.createAccount, request);
  };
  return {
    stack,
    browser,
    url,
    person,
    window: async (t, known) => {
      const { page, troubles } = await openWindow(browser, url);
      t.after(async () => {
        await page.context().close();
        assert.deepEqual(troubles, []);
      });
      await signIn(page, known ?? (await person()));
      return page;
    },
  };
}

interface Filled {
  readonly side: "Buy" | "Sell";
  readonly quantity: string;
  readonly price: string;
}

const sender = (page: Page) => page.locator("button.send");
const outcome = (page: Page) => page.locator(".outcome");
const orders = (page: Page, name: string) => page.getByRole("region", { name }).getByRole("row");

async function fillIn(page: Page, { side, quantity, price }: Filled): Promise<void> {
  await page.getByRole("group", { name: "Side" }).getByRole("button", { name: side }).click();
  await page.getByLabel("Quantity", { exact: true }).fill(quantity);
  await page.getByLabel("Price", { exact: true }).fill(price);
}

async function submit(page: Page, filled: Filled, expected: string): Promise<void> {
  await fillIn(page, filled);
  await sender(page).click();
  await outcome(page).getByText(expected).waitFor();
}

/** How many orders the page asked the server to take, whatever became of them. */
function countSubmits(page: Page): () => number {
  let count = 0;
  page.on("request", (request) => (count += Number(request.url().endsWith("/SubmitOrder"))));
  return () => count;
}

async function goTo(page: Page, screen: "Trade" | "Pipeline" | "Replay"): Promise<void> {
  await page.getByRole("navigation", { name: "Screens" }).getByRole("link", { name: screen }).click();
  await page.getByRole("main", { name: screen }).waitFor();
}

test("the page", async (t) => {
  const stage = await open(t);

  await t.test("who gives a wrong secret is told so, and nothing else", async (t) => {
    const { page } = await openWindow(stage.browser, stage.url);
    t.after(() => page.context().close());
    await page.getByLabel("Account").fill("nobody");
    await page.getByLabel("Secret").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").filter({ hasText: /\w/ }).first().waitFor();
    assert.ok(await page.getByRole("button", { name: "Sign in" }).isVisible());
    assert.equal(await page.evaluate<string>("document.cookie"), "");
  });

  await t.test("two windows trade with each other, and each sees it as it happens", async (t) => {
    const [buyer, seller] = await Promise.all([stage.window(t), stage.window(t)]);
    await submit(buyer, { side: "Buy", quantity: "0.5", price: "100" }, "Open");
    await orders(buyer, "open orders").getByText(SYMBOL).waitFor();

    await seller.getByRole("button", { name: /^bid 100(\.0+)?:/ }).click();
    assert.match(await seller.getByLabel("Price", { exact: true }).inputValue(), /^100(\.0+)?$/);
    await seller.getByRole("group", { name: "Side" }).getByRole("button", { name: "Sell" }).click();
    await seller.getByLabel("Quantity", { exact: true }).fill("0.2");
    await sender(seller).click();
    await outcome(seller).getByText("Filled · 0.2 filled at 100").waitFor();

    await buyer.getByText("Bought 0.2 BTC-USD at 100. 0.3 open.").first().waitFor();
    await orders(buyer, "open orders").getByText("Part filled").waitFor();
    for (const page of [buyer, seller])
      await page.getByRole("region", { name: "Trades" }).getByText("0.2").first().waitFor();
    await buyer.getByRole("img", { name: /^Price in candles of 1 min: from 100/ }).waitFor();

    await buyer.getByRole("button", { name: /^Replace: Buy 0.5/ }).click();
    await buyer.getByLabel("Quantity, with what is filled").fill("0.4");
    await buyer.getByRole("dialog").getByRole("button", { name: "Replace" }).click();
    await orders(buyer, "open orders").getByText("0.4").waitFor();
    await buyer.getByRole("button", { name: /^Cancel: Buy 0.4/ }).click();
    await buyer.getByText("No order is open.").waitFor();
    await seller.getByText("The book is empty").waitFor();
  });

  await t.test("what the server says of a field stands beside it", async (t) => {
    const page = await stage.window(t);
    await fillIn(page, { side: "Buy", quantity: "1", price: "100.001" });
    await sender(page).click();
    const price = page.getByLabel("Price", { exact: true });
    await page.locator("[aria-invalid]").waitFor();
    assert.equal(await price.getAttribute("aria-invalid"), "true");
    const [, error] = (await price.getAttribute("aria-describedby"))!.split(" ");
    assert.match((await page.locator(`[id="${error}"]`).textContent())!, /tick/);
    await submit(page, { side: "Buy", quantity: "1", price: "50" }, "Open");
  });

  await t.test("a double click, a lost answer and a reload send one order (I2)", async (t) => {
    const person = await stage.person();
    const page = await stage.window(t, person);
    const submits = countSubmits(page);
    await fillIn(page, { side: "Buy", quantity: "1", price: "10" });
    await sender(page).dblclick();
    await outcome(page).getByText("Open").waitFor();
    await page.getByRole("button", { name: "Open 1" }).waitFor();
    assert.equal(submits(), 1);

    // The server takes it, and its answer does not come.
    const lose = async (route: Parameters<Parameters<Page["route"]>[1]>[0]): Promise<void> => {
      await route.fetch();
      await route.abort();
    };
    await page.route("**/SubmitOrder", lose, { times: 1 });
    await fillIn(page, { side: "Buy", quantity: "1", price: "11" });
    await sender(page).click();
    await outcome(page).getByText("was not taken twice").waitFor();
    await page.getByRole("button", { name: "Open 2" }).waitFor();

    await page.route("**/SubmitOrder", lose);
    await fillIn(page, { side: "Buy", quantity: "1", price: "12" });
    await sender(page).click();
    await outcome(page).getByText("No answer yet").waitFor();
    await page.unroute("**/SubmitOrder");
    const before = submits();
    await page.reload();
    await page.getByText("It is in the log. Buy 1 BTC-USD at 12.").first().waitFor();
    assert.ok(submits() > before);
    await page.getByRole("button", { name: "Open 3" }).waitFor();
    const client = await stage.stack.ingest.client(person.account);
    const { orders } = await client.call(OrderService.method.listOrders, { openOnly: true });
    assert.equal(orders.length, 3);
    assert.equal(new Set(orders.map(({ clientOrderId }) => clientOrderId)).size, 3);
  });

  await t.test("by keyboard alone: sign in, trade, cancel, find help", async (t) => {
    const { page } = await openWindow(stage.browser, stage.url);
    t.after(() => page.context().close());
    const person = await stage.person();
    const { keyboard } = page;
    await page.getByLabel("Account").waitFor();
    await keyboard.type(person.account);
    await keyboard.press("Tab");
    await keyboard.type(person.secret);
    await keyboard.press("Enter");
    await page.getByText("Live", { exact: true }).first().waitFor();
    await page.getByLabel("Quantity", { exact: true }).waitFor();
    await keyboard.press("s");
    await keyboard.type("0.25");
    await keyboard.press("Tab");
    await keyboard.type("9000");
    await keyboard.press("Enter");
    await outcome(page).getByText("Open").waitFor();
    await keyboard.press("Escape");
    await keyboard.press("l");
    await keyboard.press("Enter");
    await keyboard.press("o");
    const focused = () => page.evaluate<string>('document.activeElement.getAttribute("aria-label") ?? ""');
    for (let tab = 0; tab < 20 && !(await focused()).startsWith("Cancel: Sell 0.25"); tab++)
      await keyboard.press("Tab");
    await keyboard.press("Enter");
    await page.getByText("No order is open.").waitFor();
    await keyboard.press("?");
    await page.getByRole("dialog").getByText("Fill in an order to buy").waitFor();
    await keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    await keyboard.press("3");
    await page.getByRole("main", { name: "Replay" }).waitFor();
  });

  await t.test("an order's whole way, the book behind it, and back and on from there", async (t) => {
    const page = await stage.window(t);
    await submit(page, { side: "Sell", quantity: "2", price: "7000" }, "Open");
    await submit(page, { side: "Sell", quantity: "3", price: "7001" }, "Open");
    await outcome(page).getByRole("link", { name: "its way" }).click();
    await page.getByRole("main", { name: "Order" }).waitFor();
    const stages = page.locator(".stages li");
    await page.locator(".stages li:nth-child(5).done").waitFor();
    assert.deepEqual(await stages.locator("strong").allTextContents(), [
      ...["Sent", "Logged", "Matched", "Written", "Result written"],
    ]);
    assert.equal(await page.locator(".stages li.done").count(), 5);
    await page.getByRole("region", { name: "Executions" }).getByText("New").waitFor();

    await page.getByRole("link", { name: "the book behind it" }).click();
    await page.getByRole("main", { name: "Replay" }).waitFor();
    await page.getByText("7001:").waitFor();
    const version = () => page.locator(".place").textContent();
    const here = await version();
    await page.getByRole("button", { name: "Back" }).click();
    await page.getByText("7000:").waitFor();
    await page.getByRole("button", { name: "On", exact: false }).first().click();
    await page.getByText("7001:").waitFor();
    assert.equal(await version(), here);
  });

  await t.test("an admin sees the pipeline over time; others are told that they may not", async (t) => {
    const page = await stage.window(t, await stage.person(Role.ADMIN));
    await goTo(page, "Pipeline");
    await page.getByText("Orders are taken, matched and written.").waitFor();
    assert.ok((await page.locator(".plot canvas").count()) >= 10);
    await page.getByText("None is open: all that was logged is written.").waitFor();
    await page.getByRole("region", { name: "Groups" }).getByText("persist").first().waitFor();
    const trader = await stage.window(t);
    await trader.goto(`${stage.url}#/pipeline`);
    await trader.getByText("The pipeline is for admins.").waitFor();
  });

  await t.test("what Postgres refused is shown with its reason, and is written by a redrive", async (t) => {
    const { sql } = stage.stack;
    await sql`ALTER TABLE orders ADD CONSTRAINT no_poison CHECK (client_order_id <> 'poison')`;
    await stage.stack.client.call(OrderService.method.submitOrder, {
      ...{ clientOrderId: "poison", symbol: SYMBOL, side: Side.BUY, type: OrderType.LIMIT, quantity: "1", price: "3" },
    });
    const page = await stage.window(t, await stage.person(Role.ADMIN));
    await goTo(page, "Pipeline");
    await page.getByText("One dead letter is open.").waitFor();
    const letter = page
      .getByRole("region", { name: "Dead letters, newest first" })
      .getByRole("row", { name: /no_poison/ });
    await letter.getByRole("button", { name: /^Show/ }).click();
    await page.getByRole("dialog").getByText("poison", { exact: true }).waitFor();
    await page.keyboard.press("Escape");
    await letter.getByRole("button", { name: /^Redrive/ }).click();
    await page
      .getByText(/was refused again: .*no_poison/)
      .first()
      .waitFor();
    await sql`ALTER TABLE orders DROP CONSTRAINT no_poison`;
    await letter.getByRole("button", { name: /^Redrive/ }).click();
    await page
      .getByText(/^Dead letter \d+ is written\./)
      .first()
      .waitFor();
    await page.getByText("None is open: all that was logged is written.").waitFor();
  });

  await t.test("on a phone nothing is cut off, and an order can be sent", async (t) => {
    const page = await stage.window(t, await stage.person(Role.ADMIN));
    await page.setViewportSize({ width: 360, height: 740 });
    const width = () => page.evaluate<number>("document.documentElement.scrollWidth");
    await submit(page, { side: "Buy", quantity: "1", price: "5" }, "Open");
    assert.ok((await width()) <= 360, "Trade");
    await outcome(page).getByRole("link", { name: "its way" }).click();
    await page.locator(".stages").waitFor();
    assert.ok((await width()) <= 360, "Order");
    for (const screen of ["Pipeline", "Replay"] as const) {
      await goTo(page, screen);
      await page.locator(".panel").first().waitFor();
      assert.ok((await width()) <= 360, screen);
    }
  });

  await t.test("axe finds nothing serious, in either theme", async (t) => {
    const page = await stage.window(t, await stage.person(Role.ADMIN));
    await submit(page, { side: "Buy", quantity: "1", price: "6" }, "Open");
    const way = (await outcome(page).getByRole("link", { name: "its way" }).getAttribute("href"))!;
    const screens = ["#/trade/BTC-USD", way, "#/pipeline", "#/replay/BTC-USD"];
    for (const hash of screens) {
      await page.goto(stage.url + hash);
      await page.locator("main .panel").first().waitFor();
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        assert.deepEqual(await seriousIn(page), [], `${hash}, ${colorScheme}`);
      }
    }
    await page.getByRole("button", { name: "Keyboard shortcuts and about" }).click();
    assert.deepEqual(await seriousIn(page), [], "help");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Secret").waitFor();
    assert.deepEqual(await seriousIn(page), [], "sign in");
  });

  await t.test("the server goes and comes back: the page says so, resumes, and misses nothing (I4, I11)", async (t) => {
    const person = await stage.person();
    const page = await stage.window(t, person);
    await submit(page, { side: "Buy", quantity: "1", price: "20" }, "Open");
    await stage.stack.ingest.kill();
    await page.getByText(/^Reconnecting.* last seen/).waitFor();
    await page.getByText("As last seen.", { exact: false }).first().waitFor();
    const ingest = await startIngest(t, stage.stack.servers);
    const client = await ingest.client(person.account);
    await client.call(OrderService.method.submitOrder, {
      ...{
        clientOrderId: "meanwhile",
        symbol: SYMBOL,
        side: Side.BUY,
        type: OrderType.LIMIT,
        quantity: "1",
        price: "21",
      },
    });
    await page.getByRole("button", { name: "Open 2" }).waitFor();
    await page.getByText("Live", { exact: true }).first().waitFor();

    const admin = await ingest.client("root", "admin");
    await admin.call(AdminService.method.revokeTokens, { account: person.account });
    await page.getByText("Your session has ended. Sign in to go on.").waitFor();
    await signIn(page, person);
    await page.getByRole("button", { name: "Open 2" }).waitFor();
  });
});

async function seriousIn(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate<AxeResults>('axe.run({ resultTypes: ["violations"] })');
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
}
