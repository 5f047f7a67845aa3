import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";

import {
  type CancelOrderRequest,
  CancelOrderRequestSchema,
  OrderService,
  type SubmitOrderRequest,
  SubmitOrderRequestSchema,
} from "../../../src/gen/penstock/v1/order_service_pb.ts";
import { clientsOf } from "../api/clients.ts";
import { Outbox, type Store } from "./outbox.ts";

/** What sessionStorage is, for the life of a tab. */
class Tab implements Store {
  readonly #items = new Map<string, string>();

  getItem(key: string): string | null {
    return this.#items.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.#items.set(key, value);
  }

  removeItem(key: string): void {
    this.#items.delete(key);
  }

  get size(): number {
    return this.#items.size;
  }
}

const unavailable = () => new ConnectError("gone", Code.Unavailable);

/** A server that keeps what it took, and whose next answers the test may lose or replace. */
class Server {
  readonly taken: string[] = [];
  readonly calls: string[] = [];
  /** For the next calls: thrown before anything was taken, or after it. */
  readonly faults: { readonly error: ConnectError; readonly after: boolean }[] = [];
  now = 1_000_000;
  /** While a client waits to send again. */
  onWait = (): void => {};

  outbox(store: Store, onSessionEnd = () => {}): Outbox {
    const transport = createRouterTransport(({ service }) => {
      service(OrderService, {
        submitOrder: (request: SubmitOrderRequest) => this.#take(request.clientOrderId),
        cancelOrder: (request: CancelOrderRequest) => this.#take(request.clientRequestId),
        getOrder: ({ clientOrderId }) => {
          this.calls.push(`look ${clientOrderId}`);
          if (!this.taken.includes(clientOrderId)) throw new ConnectError("none", Code.NotFound);
          return { order: { clientOrderId } };
        },
      });
    });
    const { orders } = clientsOf(transport);
    const wait = (ms: number, signal: AbortSignal): Promise<void> => {
      this.now += ms;
      this.onWait();
      return signal.aborted ? Promise.reject(new Error("aborted")) : Promise.resolve();
    };
    return new Outbox({ orders, store, account: "demo", onSessionEnd, now: () => this.now, wait });
  }

  #take(id: string) {
    this.calls.push(id);
    const fault = this.faults.shift();
    if (fault !== undefined && !fault.after) throw fault.error;
    const duplicate = this.taken.includes(id);
    if (!duplicate) this.taken.push(id);
    if (fault !== undefined) throw fault.error;
    return { orderId: "1", duplicate };
  }
}

const submit = (clientOrderId: string) =>
  ({ kind: "submit", request: create(SubmitOrderRequestSchema, { clientOrderId, symbol: "X" }) }) as const;

test("the same id is sent once, however often it is asked for", async () => {
  const server = new Server();
  const tab = new Tab();
  const outbox = server.outbox(tab);
  const outcomes = await Promise.all([outbox.send(submit("a")), outbox.send(submit("a"))]);
  assert.deepEqual(server.calls, ["a"]);
  assert.equal(outcomes[0], outcomes[1]);
  assert.equal(outcomes[0]?.kind, "answered");
  assert.equal(tab.size, 0);
});

test("a lost answer is asked for with the same id until it is known", async () => {
  const server = new Server();
  server.faults.push({ error: unavailable(), after: true }, { error: unavailable(), after: false });
  const outcome = await server.outbox(new Tab()).send(submit("a"));
  assert.equal(outcome.kind, "answered");
  assert.deepEqual(server.calls, ["a", "a", "a"]);
  assert.deepEqual(server.taken, ["a"]);
});

test("a refusal is the outcome; behind a lost answer it is not, and the order is looked for", async () => {
  const refused = () => new ConnectError("bad", Code.InvalidArgument);
  const first = new Server();
  first.faults.push({ error: refused(), after: false });
  assert.equal((await first.outbox(new Tab()).send(submit("a"))).kind, "refused");

  const second = new Server();
  second.faults.push({ error: unavailable(), after: true }, { error: refused(), after: false });
  const outcome = await second.outbox(new Tab()).send(submit("a"));
  assert.equal(outcome.kind, "found");
  assert.deepEqual(second.calls, ["a", "a", "look a"]);

  const third = new Server();
  third.faults.push({ error: unavailable(), after: false }, { error: refused(), after: false });
  assert.equal((await third.outbox(new Tab()).send(submit("a"))).kind, "refused");
});

test("overload behind a lost answer is waited for", async () => {
  const server = new Server();
  const busy = new ConnectError("busy", Code.ResourceExhausted);
  server.faults.push({ error: unavailable(), after: true }, { error: busy, after: false });
  assert.equal((await server.outbox(new Tab()).send(submit("a"))).kind, "answered");
  assert.deepEqual(server.taken, ["a"]);
});

test("a page that is loaded anew sends again what the one before did not know the outcome of", async () => {
  const server = new Server();
  const tab = new Tab();
  server.faults.push({ error: unavailable(), after: true });
  const before = server.outbox(tab);
  server.onWait = () => before.close();
  assert.equal((await before.send(submit("a"))).kind, "unknown");
  assert.equal(tab.size, 1);

  const after = server.outbox(tab);
  const [resumed] = after.resume();
  const outcome = await resumed!.outcome;
  assert.equal(outcome.kind, "answered");
  assert.ok(outcome.kind === "answered" && "duplicate" in outcome.answer && outcome.answer.duplicate);
  assert.deepEqual(server.taken, ["a"]);
  assert.equal(tab.size, 0);
  assert.deepEqual(after.pending.value, []);
});

test("after a minute an order is looked for, and not sent any more", async () => {
  const server = new Server();
  const tab = new Tab();
  const before = server.outbox(tab);
  server.faults.push({ error: unavailable(), after: false });
  server.onWait = () => before.close();
  await before.send(submit("a"));
  server.now += 120_000;
  const [resumed] = server.outbox(tab).resume();
  const outcome = await resumed!.outcome;
  assert.equal(outcome.kind, "refused");
  assert.deepEqual(server.calls, ["a", "look a"]);
});

test("where nobody answers it ends, and says that it does not know", async () => {
  const server = new Server();
  for (let at = 0; at < 1_000; at++) server.faults.push({ error: unavailable(), after: false });
  const request = create(CancelOrderRequestSchema, { clientRequestId: "c" });
  const outcome = await server.outbox(new Tab()).send({ kind: "cancel", request });
  assert.equal(outcome.kind, "unknown");
});

test("what is given up is not sent again", async () => {
  const server = new Server();
  const tab = new Tab();
  const outbox = server.outbox(tab);
  server.faults.push({ error: unavailable(), after: false });
  server.onWait = () => outbox.giveUp("a");
  assert.equal((await outbox.send(submit("a"))).kind, "unknown");
  assert.deepEqual(server.calls, ["a"]);
  assert.equal(tab.size, 0);
});

test("an order that was refused because nobody is signed in is not kept; one of unknown outcome is", async () => {
  const server = new Server();
  const tab = new Tab();
  const ended = () => new ConnectError("over", Code.Unauthenticated);
  let ends = 0;
  server.faults.push({ error: ended(), after: false });
  assert.equal((await server.outbox(tab, () => ends++).send(submit("a"))).kind, "refused");
  assert.equal(ends, 1);
  assert.equal(tab.size, 0);

  server.faults.push({ error: unavailable(), after: true }, { error: ended(), after: false });
  const outbox = server.outbox(tab, () => outbox.close());
  assert.equal((await outbox.send(submit("b"))).kind, "unknown");
  assert.equal(tab.size, 1);
});
