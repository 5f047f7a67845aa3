import assert from "node:assert/strict";
import { createSecretKey } from "node:crypto";
import { test } from "node:test";

import { AdminService, Role } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { AuthService } from "../src/gen/penstock/v1/auth_service_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { TokenService } from "../src/ingest/auth/tokens.ts";
import { formatOrderId } from "../src/stream/position.ts";
import { refusalOf, refusalsOf } from "./support/caller.ts";
import { Door, KEYS, order, SIGNING_KEY, tokens } from "./support/door.ts";
import { eventually } from "./support/pipeline.ts";

/** The gRPC door: who may call, and whose orders they see. */

const { submitOrder, cancelOrder, replaceOrder, getOrder, listOrders } = OrderService.method;
const { upsertInstrument, createAccount, getPipelineStatus } = AdminService.method;
const { issueToken } = AuthService.method;

/** Of a moment ago: an older one might be an order that the engine alone still knows. */
const UNKNOWN_ID = formatOrderId({ partition: 0, epoch: 1, ms: Date.now() - 60_000, seq: 7, index: 1 });

test("tokens, accounts and their own orders", async (t) => {
  const door = await Door.open(t);
  const client = await door.client();
  const admin = await door.client("root", "admin");
  const length = () => door.redis.xlen(KEYS.orders);

  await t.test("wants a good token, and for AdminService the role admin", async () => {
    const before = await length();
    const { token } = await tokens(3_600).issue("demo", "trader");
    const [head, payload, signature] = token.split(".") as [string, string, string];
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as object;
    const asAdmin = Buffer.from(JSON.stringify({ ...claims, role: "admin" })).toString("base64url");
    const none = Buffer.from(JSON.stringify({ alg: "none" })).toString("base64url");
    const past = new TokenService({
      key: createSecretKey(SIGNING_KEY, "utf8"),
      ttlS: 60,
      now: () => Date.now() - 120_000,
    });
    const foreign = new TokenService({ key: createSecretKey(SIGNING_KEY.toUpperCase(), "utf8"), ttlS: 60 });
    const bad = [
      undefined,
      "",
      "Bearer",
      "Bearer ",
      `Basic ${token}`,
      token,
      `Bearer ${head}.${asAdmin}.${signature}`,
      `Bearer ${none}.${asAdmin}.`,
      `Bearer ${token.slice(0, -6)}AAAAAA`,
      `Bearer ${(await past.issue("demo", "trader")).token}`,
      `Bearer ${(await foreign.issue("demo", "trader")).token}`,
    ];
    for (const authorization of bad) {
      const caller = door.anyone(authorization);
      const calls = [
        caller.call(submitOrder, order("nobody")),
        caller.call(getOrder, {}),
        caller.call(createAccount, {}),
      ];
      for (const { code } of await refusalsOf(...calls))
        assert.equal(code, "UNAUTHENTICATED", authorization ?? "no token");
    }
    const denied = await refusalsOf(
      client.call(createAccount, { account: "mallory", role: Role.ADMIN }),
      client.call(upsertInstrument, { instrument: { symbol: "X", tickSize: "1", lotSize: "1" } }),
      client.call(getPipelineStatus, {}),
    );
    for (const { code } of denied) assert.equal(code, "PERMISSION_DENIED");
    assert.equal(await length(), before);
    assert.equal((await door.anyone(`bearer ${token}`).call(submitOrder, order("in-lower-case"))).duplicate, false);
  });

  await t.test("a token ends, also one that is in use", async () => {
    const { token, expiresAt } = await tokens(2).issue("demo", "trader");
    const caller = door.anyone(`Bearer ${token}`);
    assert.equal((await caller.call(listOrders, {})).asOf.length, 1);
    await eventually(async () => Date.now() >= expiresAt.getTime(), "the end of the token");
    assert.equal((await refusalOf(caller.call(listOrders, {}))).code, "UNAUTHENTICATED");
  });

  await t.test("accounts: created by an admin, their secrets are good for tokens", async () => {
    const created = await admin.call(createAccount, { account: "alice", role: Role.TRADER });
    const anyone = door.anyone();
    const issued = await anyone.call(issueToken, { account: "alice", secret: created.secret });
    const alice = door.anyone(`Bearer ${issued.token}`);
    const { orderId } = await alice.call(submitOrder, order("alice's"));
    assert.equal((await alice.call(getOrder, { orderId })).order?.account, "alice");
    assert.equal(
      (await refusalOf(admin.call(createAccount, { account: "alice", role: Role.TRADER }))).code,
      "ALREADY_EXISTS",
    );
    for (const [account, secret] of [
      ["alice", `${created.secret}x`],
      ["bob", created.secret],
    ] as const) {
      assert.equal((await refusalOf(anyone.call(issueToken, { account, secret }))).code, "UNAUTHENTICATED");
    }
    const [row] = await door.sql`SELECT * FROM accounts WHERE name = 'alice'`;
    assert.ok(!JSON.stringify(row).includes(created.secret), "only its hash is kept");
    assert.ok(!door.ingest.lines.some((line) => line.includes(created.secret) || line.includes(issued.token)));
    assert.deepEqual((await refusalOf(admin.call(createAccount, { account: "A b" }))).fields, ["account", "role"]);
    assert.deepEqual((await refusalOf(anyone.call(issueToken, {}))).fields, ["account", "secret"]);
  });

  await t.test("I12: another account's order is no more there than one that never was", async () => {
    const { orderId } = await client.call(submitOrder, order("mine"));
    const other = await door.client("other");
    const before = await length();
    for (const caller of [other, client]) {
      const id = caller === other ? orderId : UNKNOWN_ID;
      const byName = { symbol: "BTC-USD", clientOrderId: caller === other ? "mine" : "never-was" };
      const refused = await refusalsOf(
        caller.call(getOrder, { orderId: id }),
        caller.call(getOrder, byName),
        caller.call(cancelOrder, { orderId: id, clientRequestId: "c" }),
        caller.call(replaceOrder, { orderId: id, clientRequestId: "r", quantity: "1" }),
      );
      for (const { code } of refused) assert.equal(code, "NOT_FOUND");
    }
    assert.deepEqual((await other.call(listOrders, {})).orders, []);
    assert.equal(await length(), before);
    const own = await other.call(submitOrder, order("mine", { price: "5" }));
    assert.ok(!own.duplicate && own.orderId !== orderId, "ids are an account's own");
    assert.equal((await other.call(getOrder, { symbol: "BTC-USD", clientOrderId: "mine" })).order?.price, "5");
  });
});
