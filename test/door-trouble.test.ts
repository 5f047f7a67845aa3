import assert from "node:assert/strict";
import { suite, test } from "node:test";

import { AdminService } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { AuthService } from "../src/gen/penstock/v1/auth_service_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { type Caller, Refusal, refusalOf, refusalsOf } from "./support/caller.ts";
import { Door, order } from "./support/door.ts";
import { eventually } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";

/** The gRPC door under trouble: servers that are away or silent, cut connections, an end under load. */

const { submitOrder, submitOrders, cancelOrder, replaceOrder, getOrder, listOrders } = OrderService.method;
const { getPipelineStatus } = AdminService.method;
const { issueToken } = AuthService.method;

suite("under trouble", { concurrency: true }, () => {
  test("I2: a retried order after a cut connection is one order, and says so", async (t) => {
    const door = await Door.open(t);
    const proxy = await Proxy.start(t, `http://${door.ingest.address}`);
    const client = await door.client("demo", "trader", proxy.address);
    await client.call(submitOrder, order("before"));
    const lost = proxy.swallow((answer) => answer.includes("cut-off"));
    const [refusal] = await Promise.all([refusalOf(client.call(submitOrder, order("cut-off"))), lost]);
    assert.equal(refusal.code, "UNAVAILABLE");
    const again = await eventually(
      async () => client.call(submitOrder, order("cut-off")).catch(() => undefined),
      "a new connection",
    );
    assert.equal(again.duplicate, true);
    assert.deepEqual(await door.logged(), ["instrument", "before", "cut-off"]);
    assert.equal((await client.call(getOrder, { orderId: again.orderId })).order?.clientOrderId, "cut-off");
  });

  test("a log that says nothing: deadlines and cancels are honoured, the queue is bounded, what was sent is answered (I11)", async (t) => {
    const door = await Door.open(t, { env: { PENSTOCK_MAX_IN_FLIGHT: "1000" } });
    const client = await door.client();
    await client.call(submitOrder, order("before"));
    door.toRedis.stall();
    const onItsWay = client.call(submitOrder, order("on-its-way"));
    await waiting(door, 1);
    const expired = refusalOf(client.call(submitOrder, order("expired"), { deadlineMs: 300 }));
    const cancelled = refusalOf(
      client.call(submitOrder, order("cancelled"), {
        onCall: (call) => void waiting(door, 4).then(() => call.cancel()),
      }),
    );
    const late = client.call(submitOrder, order("late"), { deadlineMs: 30_000 });
    assert.equal((await expired).code, "DEADLINE_EXCEEDED");
    assert.equal((await cancelled).code, "CANCELLED");
    await waiting(door, 4);
    const orders = Array.from({ length: 997 }, (_, i) => order(`too-many-${i}`));
    assert.equal((await refusalOf(client.call(submitOrders, { orders }))).code, "RESOURCE_EXHAUSTED");
    door.toRedis.cut();
    assert.equal((await onItsWay).duplicate, false);
    assert.equal((await late).duplicate, false);
    assert.deepEqual(await door.logged(), ["instrument", "before", "on-its-way", "late"]);
    await waiting(door, 0);
  });

  test("Redis or Postgres away: UNAVAILABLE with a time to come again, and by itself it goes on (I11)", async (t) => {
    const door = await Door.open(t);
    const client = await door.client();
    const { orderId } = await client.call(submitOrder, order("before"));
    const byName = { symbol: "BTC-USD", clientOrderId: "before" };
    const away = async (...calls: Promise<unknown>[]) => {
      for (const { code, retryAfterMs, message } of await refusalsOf(...calls)) {
        assert.equal(code, "UNAVAILABLE", message);
        assert.ok(retryAfterMs! > 0);
      }
    };
    door.toPostgres.closed = true;
    await away(
      client.call(getOrder, { orderId }),
      client.call(listOrders, {}),
      client.call(cancelOrder, { orderId, clientRequestId: "1" }),
    );
    await away(door.anyone().call(issueToken, { account: "demo", secret: "x" }));
    assert.equal((await client.call(submitOrder, order("without-Postgres"))).duplicate, false);
    door.toPostgres.closed = false;
    const found = await eventually(async () => client.call(getOrder, { orderId }).catch(() => undefined), "Postgres");
    assert.equal(found.order?.clientOrderId, "before");

    door.toRedis.closed = true;
    await away(client.call(submitOrder, order("away")), client.call(getOrder, byName), client.call(listOrders, {}));
    assert.equal((await fetch(`${door.ingest.http}/readyz`)).status, 503);
    assert.equal((await fetch(`${door.ingest.http}/healthz`)).status, 200);
    door.toRedis.closed = false;
    await eventually(async () => client.call(submitOrder, order("back")).catch(() => undefined), "the log");
    await client.call(getOrder, byName);

    // A restarted Redis is opened against the journal: until that is there the partition is shut, and /readyz says so.
    door.toPostgres.closed = true;
    await door.server.restart();
    await away(client.call(submitOrder, order("shut")));
    const ready = () => fetch(`${door.ingest.http}/readyz`);
    assert.deepEqual(Object.keys(((await (await ready()).json()) as { failing: object }).failing), ["log"]);
    door.toPostgres.closed = false;
    await eventually(async () => (await ready()).ok, "the log to be opened by itself");
    assert.deepEqual(
      (await door.logged()).filter((id) => id !== "away"),
      ["instrument", "before", "without-Postgres", "back"],
    );
    assert.doesNotMatch(door.ingest.lines.join("\n"), /"level":"error"/);
  });

  test("a Postgres that says nothing: a call without a deadline ends all the same, and orders are taken (I11)", async (t) => {
    const door = await Door.open(t, { env: { PENSTOCK_REQUEST_TIMEOUT_MS: "1500" } });
    const client = await door.client();
    const { orderId } = await client.call(submitOrder, order("before"));
    door.toPostgres.stall();
    const read = refusalOf(client.call(getOrder, { orderId }));
    assert.equal((await client.call(submitOrder, order("meanwhile"))).duplicate, false);
    const refusal = await read;
    assert.equal(refusal.code, "DEADLINE_EXCEEDED");
    // Also true of a call that carries no id, as this one.
    assert.match(
      refusal.message,
      /outcome is unknown; where the request carries an id, send it again with the same one/,
    );
    door.toPostgres.cut();
    const found = await eventually(async () => client.call(getOrder, { orderId }).catch(() => undefined), "Postgres");
    assert.equal(found.order?.clientOrderId, "before");
  });

  test("a group that falls behind: new orders are refused, cancels are taken; orders again when it has caught up (I11)", async (t) => {
    const door = await Door.open(t, { env: { PENSTOCK_MAX_BACKLOG: "3" } });
    const client = await door.client();
    const { orderId } = await client.call(submitOrder, order("first"));
    let n = 0;
    const refusal = await eventually(async () => {
      try {
        await client.call(submitOrder, order(`more-${n++}`));
        return undefined;
      } catch (error) {
        assert.ok(error instanceof Refusal);
        return error;
      }
    }, "a refusal");
    assert.equal(refusal.code, "RESOURCE_EXHAUSTED");
    assert.match(refusal.message, /group persist of the orders of partition 0 is more than 3 entries behind/);
    assert.ok(refusal.retryAfterMs! > 0);
    assert.equal((await refusalOf(client.call(submitOrders, { orders: [order("batch")] }))).code, "RESOURCE_EXHAUSTED");
    assert.equal((await client.call(cancelOrder, { orderId, clientRequestId: "1" })).duplicate, false);
    const admin = await door.client("root", "admin");
    assert.match((await admin.call(getPipelineStatus, {})).refusing, /entries behind/);
    await door.work();
    await eventually(
      async () => client.call(submitOrder, order("again")).catch(() => undefined),
      "orders to be taken again",
    );
    assert.ok(!(await door.logged()).includes("batch"));
  });

  test("what one partition has piled up stands in the way of its own orders alone (I11)", async (t) => {
    const door = await Door.open(t, { env: { PENSTOCK_MAX_BACKLOG: "3", PENSTOCK_PARTITIONS: "2" } });
    await door.define("ETH-USD"); // in the other one
    const client = await door.client();
    const first = { symbol: "BTC-USD", clientOrderId: "0" };
    let n = 0;
    const refusal = await eventually(async () => {
      const outcome = await client.call(submitOrder, order(String(n++))).catch((error: unknown) => error);
      return outcome instanceof Refusal && outcome;
    }, "a refusal");
    assert.equal(refusal.code, "RESOURCE_EXHAUSTED");
    assert.match(refusal.message, /partition 0 is more than 3 entries behind/);
    assert.ok(refusal.retryAfterMs! > 0);
    const other = { symbol: "ETH-USD" };
    await client.call(submitOrder, order("other", other));
    const { results } = await client.call(submitOrders, { orders: [order("batch"), order("beside", other)] });
    assert.deepEqual(
      results.map(({ result }) => [result.case, result.case === "refused" && result.value.code]),
      [
        ["refused", 8],
        ["accepted", false],
      ],
    );
    const replace = client.call(replaceOrder, { ...first, clientRequestId: "1", quantity: "0.2" });
    assert.equal((await refusalOf(replace)).code, "RESOURCE_EXHAUSTED");
    await client.call(cancelOrder, { ...first, clientRequestId: "2" });
    const admin = await door.client("root", "admin");
    const { refusing } = await admin.call(getPipelineStatus, {});
    assert.equal(refusal.message, `RESOURCE_EXHAUSTED: ${refusing}`);
  });

  test("SIGTERM while calls are under way: what was taken is answered, and it ends with 0 (I1)", async (t) => {
    const door = await Door.open(t);
    const clients = await Promise.all([1, 2, 3].map(() => door.client()));
    const answered: string[] = [];
    const refusals = new Set<string>();
    let sent = 0;
    const submit = async (client: Caller): Promise<void> => {
      for (;;) {
        const id = `o-${sent++}`;
        try {
          await client.call(submitOrder, order(id));
          answered.push(id);
        } catch (error) {
          assert.ok(error instanceof Refusal);
          refusals.add(error.code);
          return;
        }
      }
    };
    const loops = clients.flatMap((client) => Array.from({ length: 30 }, () => submit(client)));
    await eventually(async () => answered.length > 500, "some orders");
    assert.equal(await door.ingest.stop(), 0);
    await Promise.all(loops);
    assert.deepEqual([...refusals], ["UNAVAILABLE"]);
    const logged = (await door.logged()).slice(1);
    assert.equal(new Set(logged).size, logged.length);
    assert.deepEqual(logged.sort(), answered.sort());
    assert.doesNotMatch(door.ingest.lines.join("\n"), /"level":"(error|fatal)"/);
  });
});

/** Waits until so many commands wait for the log. */
async function waiting({ ingest }: Door, commands: number): Promise<void> {
  const metric = new RegExp(`^penstock_waiting_commands(\\{.*\\})? ${commands}$`, "m");
  await eventually(
    async () => metric.test(await (await fetch(`${ingest.http}/metrics`)).text()),
    `${commands} waiting commands`,
  );
}
