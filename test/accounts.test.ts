import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type postgres from "postgres";

import { ActionOutcome, AdminService, Role } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { AuthService } from "../src/gen/penstock/v1/auth_service_pb.ts";
import { OrderType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { connect } from "../src/store/connection.ts";
import { Caller, type Refusal, refusalOf, refusalsOf } from "./support/caller.ts";
import { eventually, type Ingest, startIngest } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";
import { createTestDatabase, startTestRedis } from "./support/servers.ts";

/** Accounts, keys and tokens over two ingest processes on one Redis and one Postgres. */

const admin = AdminService.method;
const { issueToken, revokeToken } = AuthService.method;
const { submitOrder, submitOrders, cancelAllOrders, listOrders } = OrderService.method;

const ADMIN_SECRET = "an admin's own secret, chosen by a person";
const ORDER = { symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "100.25" };
let orders = 0;
const order = () => ({ ...ORDER, clientOrderId: `order-${++orders}` });

interface Credentials {
  readonly account: string;
  readonly secret: string;
}

/** Two ingest processes, and what a test calls them with. Keeps every secret and token that it saw. */
class House {
  readonly ingests: Ingest[] = [];
  readonly confidential = [ADMIN_SECRET];
  readonly toPostgres: Proxy;
  readonly sql: postgres.Sql;
  readonly #redisUrl: string;
  readonly #t: TestContext;

  private constructor(t: TestContext, redisUrl: string, databaseUrl: string, toPostgres: Proxy) {
    this.#t = t;
    this.#redisUrl = redisUrl;
    this.toPostgres = toPostgres;
    this.sql = connect(databaseUrl, { max: 1 });
    t.after(() => this.sql.end({ timeout: 1 }));
  }

  static async open(t: TestContext): Promise<House> {
    const [redis, { url }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
    const house = new House(t, redis.url, url, await Proxy.start(t, url));
    await Promise.all([house.start(), house.start()]);
    const root = await house.logIn({ account: "admin", secret: ADMIN_SECRET });
    await root.call(admin.upsertInstrument, {
      instrument: { symbol: "BTC-USD", tickSize: "0.01", lotSize: "0.00000001" },
    });
    return house;
  }

  async start(adminSecret = ADMIN_SECRET): Promise<Ingest> {
    const env = { PENSTOCK_ADMIN_SECRET: adminSecret, PENSTOCK_LOG_LEVEL: "trace" };
    const ingest = await startIngest(this.#t, { redisUrl: this.#redisUrl, databaseUrl: this.toPostgres.url, env });
    this.ingests.push(ingest);
    return ingest;
  }

  /** A client of the process of this number. */
  caller(token: string | undefined, at = 0): Caller {
    const caller = new Caller(this.ingests[at]!.address, token === undefined ? undefined : `Bearer ${token}`);
    this.#t.after(() => caller.close());
    return caller;
  }

  /** The same token at both processes. */
  both(token: string): [Caller, Caller] {
    return [this.caller(token, 0), this.caller(token, 1)];
  }

  async tokenOf({ account, secret }: Credentials): Promise<string> {
    this.confidential.push(secret);
    const { token } = await this.caller(undefined).call(issueToken, { account, secret });
    this.confidential.push(token);
    return token;
  }

  async logIn(credentials: Credentials): Promise<Caller> {
    return this.caller(await this.tokenOf(credentials));
  }
}

/** Waits until all of these callers are refused, and gives the refusals. */
async function refusedEverywhere(callers: readonly Caller[]): Promise<Refusal[]> {
  return await eventually(async () => {
    const outcomes = await Promise.allSettled(callers.map((caller) => caller.call(submitOrder, order())));
    const refusals = outcomes.filter((outcome) => outcome.status === "rejected");
    return refusals.length === callers.length && refusals.map(({ reason }) => reason as Refusal);
  }, "a refusal by both processes");
}

async function takenEverywhere(callers: readonly Caller[]): Promise<void> {
  await eventually(
    async () =>
      (await Promise.allSettled(callers.map((caller) => caller.call(submitOrder, order())))).every(
        ({ status }) => status === "fulfilled",
      ),
    "orders that both processes take",
  );
}

test("accounts over two processes", { timeout: 120_000 }, async (t) => {
  const house = await House.open(t);
  const root = await house.logIn({ account: "admin", secret: ADMIN_SECRET });
  const create = async (account: string, role: Role = Role.TRADER) => {
    const created = await root.call(admin.createAccount, { account, role });
    house.confidential.push(created.secret);
    return { account, secret: created.secret, keyId: created.keyId };
  };
  const codes = (refusals: readonly Refusal[]) => refusals.map(({ code }) => code);

  await t.test("a key is rotated: a second one, then the first one ends with its tokens, at both", async () => {
    const first = await create("rotating");
    const second = await root.call(admin.createKey, { account: "rotating" });
    assert.equal(first.secret.split(".")[0], first.keyId);
    const [ofFirst, ofSecond] = [
      await house.tokenOf(first),
      await house.tokenOf({ account: "rotating", secret: second.secret }),
    ];
    await takenEverywhere([...house.both(ofFirst), ...house.both(ofSecond)]);
    const { key } = await root.call(admin.revokeKey, { account: "rotating", keyId: first.keyId });
    assert.ok(key?.revokedAt !== undefined);
    const here = await refusalOf(house.caller(ofFirst).call(listOrders, {}));
    assert.equal(here.code, "UNAUTHENTICATED", "where it was revoked it has ended with the answer");
    assert.deepEqual(codes(await refusedEverywhere(house.both(ofFirst))), ["UNAUTHENTICATED", "UNAUTHENTICATED"]);
    await takenEverywhere(house.both(ofSecond));
    const refusal = await refusalOf(house.caller(undefined, 1).call(issueToken, first));
    assert.equal(refusal.message, "UNAUTHENTICATED: the key of this secret is revoked");
    const { keys } = await root.call(admin.listKeys, { account: "rotating" });
    assert.deepEqual(
      keys.map(({ keyId, revokedAt }) => [keyId, revokedAt !== undefined]),
      [
        [second.keyId, false],
        [first.keyId, true],
      ],
    );
  });

  await t.test("a key that ends takes its tokens with it", async () => {
    await create("short-lived");
    const expireTime = timestampFromMs(Date.now() + 3_600_000);
    const { keyId, secret } = await root.call(admin.createKey, { account: "short-lived", expireTime });
    const anyone = house.caller(undefined);
    const { token, expiresAt } = await anyone.call(issueToken, { account: "short-lived", secret });
    house.confidential.push(secret, token);
    assert.equal(expiresAt?.seconds, expireTime.seconds);
    await house.sql`UPDATE account_keys SET expires_at = now() WHERE id = ${keyId}`;
    const refusal = await refusalOf(anyone.call(issueToken, { account: "short-lived", secret }));
    assert.equal(refusal.message, "UNAUTHENTICATED: the key of this secret has expired");
    const { keys } = await root.call(admin.listKeys, { account: "short-lived" });
    assert.deepEqual([keys.length, keys[1]?.keyId], [2, keyId], "the one that is good stands first");
  });

  await t.test("keys are bounded, and asked for well", async () => {
    const account = "many-keys";
    await create(account);
    await house.sql`
      INSERT INTO account_keys (id, account, bare, secret_hash)
      SELECT 'key-' || n, ${account}, false, '' FROM generate_series(2, 20) AS n`;
    assert.equal((await refusalOf(root.call(admin.createKey, { account }))).code, "FAILED_PRECONDITION");
    const past = timestampFromMs(1_000);
    const refused = await refusalsOf(
      root.call(admin.createKey, { account: "", expireTime: past }),
      root.call(admin.revokeKey, { account, keyId: "nonsense" }),
      root.call(admin.updateAccount, { account: "" }),
      root.call(admin.listAccounts, { pageSize: 1_001 }),
    );
    assert.deepEqual(
      refused.map(({ code, fields }) => [code, ...fields]),
      [
        ["INVALID_ARGUMENT", "account", "expire_time"],
        ["INVALID_ARGUMENT", "key_id"],
        ["INVALID_ARGUMENT", "account", "role"],
        ["INVALID_ARGUMENT", "page_size"],
      ],
    );
    const unknown = await refusalsOf(
      root.call(admin.createKey, { account: "nobody" }),
      root.call(admin.listKeys, { account: "nobody" }),
      root.call(admin.revokeKey, { account, keyId: "000000000000" }),
      root.call(admin.updateAccount, { account: "nobody", suspended: true }),
      root.call(admin.revokeTokens, { account: "nobody" }),
      root.call(admin.getAccount, { account: "nobody" }),
    );
    assert.deepEqual(new Set(codes(unknown)), new Set(["NOT_FOUND"]));
  });

  await t.test("a token is revoked by its bearer, alone or with all others; by an admin too", async () => {
    const credentials = await create("revoking");
    const tokens = await Promise.all(Array.from({ length: 4 }, () => house.tokenOf(credentials)));
    const [one, two, three] = tokens.map((token) => house.both(token));
    await takenEverywhere([...one!, ...two!]);
    await one![0].call(revokeToken, {});
    assert.equal((await refusalOf(one![0].call(revokeToken, {}))).code, "UNAUTHENTICATED");
    assert.deepEqual(codes(await refusedEverywhere(one!)), ["UNAUTHENTICATED", "UNAUTHENTICATED"]);
    await takenEverywhere(two!);
    await two![1].call(revokeToken, { all: true });
    await refusedEverywhere([...two!, ...three!]);
    // Of the same second, and good: what counts is not the time.
    const again = await house.tokenOf(credentials);
    await takenEverywhere(house.both(again));
    await root.call(admin.revokeTokens, { account: "revoking" });
    await refusedEverywhere(house.both(again));
    await takenEverywhere(house.both(await house.tokenOf(credentials)));
  });

  await t.test("a role changes for tokens that are out: read-only sees its orders and may not trade", async () => {
    const credentials = await create("changing");
    const both = house.both(await house.tokenOf(credentials));
    await takenEverywhere(both);
    await root.call(admin.updateAccount, { account: "changing", role: Role.READ_ONLY });
    for (const { message } of await refusedEverywhere(both)) {
      assert.equal(message, "PERMISSION_DENIED: this needs a token of a role that may trade");
    }
    const reader = await house.logIn(credentials);
    await reader.call(listOrders, {});
    const refused = await refusalsOf(
      reader.call(submitOrders, { orders: [order()] }),
      reader.call(cancelAllOrders, { clientRequestId: "1" }),
      reader.call(admin.listAccounts, {}),
    );
    assert.deepEqual(new Set(codes(refused)), new Set(["PERMISSION_DENIED"]));
    await root.call(admin.updateAccount, { account: "changing", role: Role.TRADER });
    await takenEverywhere([...both, reader]);
  });

  await t.test("a suspended account may do nothing, and gets no token", async () => {
    const credentials = await create("suspended");
    const both = house.both(await house.tokenOf(credentials));
    await takenEverywhere(both);
    const { account } = await root.call(admin.updateAccount, { account: "suspended", suspended: true });
    assert.deepEqual([account?.suspended, account?.role], [true, Role.TRADER]);
    await refusedEverywhere(both);
    const anyone = house.caller(undefined, 1);
    const refusals = await refusalsOf(
      both[1].call(listOrders, {}),
      both[1].call(cancelAllOrders, { clientRequestId: "1" }),
      both[1].call(revokeToken, {}),
      anyone.call(issueToken, credentials),
    );
    for (const { message } of refusals) assert.equal(message, "PERMISSION_DENIED: the account is suspended");
    const wrong = await refusalOf(anyone.call(issueToken, { ...credentials, secret: `${credentials.secret}x` }));
    assert.equal(wrong.code, "UNAUTHENTICATED", "only who has the secret learns of it");
    await root.call(admin.updateAccount, { account: "suspended", suspended: false });
    await takenEverywhere(both);
  });

  await t.test("the last admin stays, and admins do not shut themselves out", async () => {
    const { keys } = await root.call(admin.listKeys, { account: "admin" });
    const lastOne = await refusalsOf(
      root.call(admin.updateAccount, { account: "admin", suspended: true }),
      root.call(admin.updateAccount, { account: "admin", role: Role.TRADER }),
      root.call(admin.revokeKey, { account: "admin", keyId: keys[0]!.keyId }),
    );
    assert.deepEqual(new Set(codes(lastOne)), new Set(["FAILED_PRECONDITION"]));
    const second = await create("second-admin", Role.ADMIN);
    const other = await house.logIn(second);
    const herself = await refusalsOf(
      other.call(admin.updateAccount, { account: "second-admin", suspended: true }),
      other.call(admin.updateAccount, { account: "second-admin", role: Role.READ_ONLY }),
      other.call(admin.revokeKey, { account: "second-admin", keyId: second.keyId }),
    );
    assert.deepEqual(new Set(codes(herself)), new Set(["FAILED_PRECONDITION"]));
    await root.call(admin.updateAccount, { account: "second-admin", role: Role.TRADER });
    assert.equal((await refusalOf(other.call(admin.listAccounts, {}))).code, "PERMISSION_DENIED");
    await root.call(admin.listAccounts, {});
  });

  await t.test("an account's rate: beyond it RESOURCE_EXHAUSTED with the time at which there is room", async () => {
    const credentials = await create("limited");
    await root.call(admin.updateAccount, { account: "limited", rateLimit: 1 });
    const caller = await house.logIn(credentials);
    const batch = (n: number) => caller.call(submitOrders, { orders: Array.from({ length: n }, order) });
    assert.equal((await batch(990)).results.length, 990);
    const { message, retryAfterMs } = await refusalOf(batch(1_000));
    assert.equal(message, "RESOURCE_EXHAUSTED: the limit of this account is 1 calls and orders a second");
    assert.ok(retryAfterMs! > 900_000 && retryAfterMs! <= 991_000, `${retryAfterMs} ms until the bucket is full`);
    const refusal = await eventually(async () => {
      try {
        await caller.call(submitOrder, order());
        return undefined;
      } catch (error) {
        return error as Refusal;
      }
    }, "the end of the burst");
    assert.equal(refusal.code, "RESOURCE_EXHAUSTED");
    assert.ok(refusal.retryAfterMs! > 0 && refusal.retryAfterMs! <= 1_000);
    await eventually(async () => caller.call(submitOrder, order()).catch(() => undefined), "room for an order");
    await house.caller(await house.tokenOf(credentials), 1).call(listOrders, {}); // each process counts for itself
    await root.call(admin.updateAccount, { account: "limited", rateLimit: 0 });
    await Promise.all(Array.from({ length: 5 }, () => batch(1_000)));
  });

  await t.test("wrong secrets are slowed down, by the key that they name", async () => {
    const credentials = await create("guessed");
    const anyone = house.caller(undefined);
    const guess = (secret: string) => refusalOf(anyone.call(issueToken, { account: "guessed", secret }));
    const crowd = (secret: string) => Promise.all(Array.from({ length: 15 }, () => guess(secret)));
    const wrong = (await crowd("a guess")).filter(({ code }) => code === "UNAUTHENTICATED");
    assert.ok(wrong.length >= 10);
    const { code, retryAfterMs } = await guess("one guess more");
    assert.equal(code, "RESOURCE_EXHAUSTED");
    assert.ok(retryAfterMs! > 0 && retryAfterMs! <= 6_000);
    assert.equal((await guess(`000000000000.${"x".repeat(43)}`)).code, "RESOURCE_EXHAUSTED", "no key of hers");
    await house.tokenOf(credentials); // who has a key is not shut out
    assert.ok((await crowd(`${credentials.keyId}.${"x".repeat(43)}`)).some(({ code }) => code === "UNAUTHENTICATED"));
    assert.equal((await guess(credentials.secret)).code, "RESOURCE_EXHAUSTED");
    const unknown = await refusalOf(anyone.call(issueToken, { account: "nobody", secret: "a guess" }));
    // By many connections: one alone is held to fewer calls without a token.
    const many = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const response = await fetch(`${house.ingests[0]!.http}/penstock.v1.AuthService/IssueToken`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ account: `nobody-${i}`, secret: "a guess" }),
        });
        return await response.text();
      }),
    );
    assert.ok(many.some((answer) => answer.includes("too many sign in at once")));
    assert.equal(unknown.code, "UNAUTHENTICATED");
  });

  await t.test("accounts are listed by name, page by page", async () => {
    const names: string[] = [];
    let pageToken = "";
    do {
      const page = await root.call(admin.listAccounts, { pageSize: 4, pageToken });
      assert.ok(page.accounts.length > 0 && page.accounts.length <= 4);
      names.push(...page.accounts.map(({ account }) => account));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    assert.deepEqual(names, [...names].sort());
    assert.ok(names.includes("admin") && names.includes("guessed"));
    const { account } = await root.call(admin.getAccount, { account: "changing" });
    assert.deepEqual([account?.account, account?.role, account?.rateLimit], ["changing", Role.TRADER, 0]);
  });

  await t.test("the audit trail holds what was done, by whom, and no secret", async () => {
    const stale = { instrument: { symbol: "BTC-USD", tickSize: "0.01", lotSize: "0.00000001", version: 1 } };
    const changes = await Promise.allSettled([1, 2].map(() => root.call(admin.upsertInstrument, stale)));
    const changed = changes.find((change) => change.status === "fulfilled")!;
    const { actions } = await root.call(admin.listAdminActions, { pageSize: 1_000 });
    const ids = actions.map(({ id }) => Number(id));
    assert.deepEqual(
      ids,
      [...ids].sort((a, b) => b - a),
    );
    const of = (action: string, subject: string) =>
      actions
        .filter((line) => line.action === action && line.subject === subject)
        .map(({ actor, outcome, details }) => [actor, outcome, details])
        .toReversed();
    const { commandId } = (changed as PromiseFulfilledResult<{ commandId: string }>).value;
    const upserts = of("UpsertInstrument", "BTC-USD");
    assert.deepEqual(upserts[0]?.slice(0, 2), ["admin", ActionOutcome.DONE]);
    assert.ok(upserts.some(([, outcome, details]) => outcome === ActionOutcome.DONE && (details as { command_id: string }).command_id === commandId)); // prettier-ignore
    assert.deepEqual(of("UpdateAccount", "suspended"), [
      ["admin", ActionOutcome.DONE, { suspended: "true" }],
      ["admin", ActionOutcome.DONE, { suspended: "false" }],
    ]);
    assert.deepEqual(
      of("UpdateAccount", "second-admin"),
      [["admin", ActionOutcome.DONE, { role: "trader" }]],
      "no refused one",
    );
    assert.deepEqual(of("RevokeTokens", "revoking"), [["admin", ActionOutcome.DONE, {}]]);
    assert.equal(of("CreateKey", "rotating").length, 1);
    const [first] = of("CreateAccount", "admin");
    assert.equal(first?.[0], "(environment)");
    const newest = await root.call(admin.listAdminActions, { pageSize: 2 });
    const older = await root.call(admin.listAdminActions, { pageSize: 2, pageToken: newest.nextPageToken });
    assert.deepEqual([...newest.actions, ...older.actions].map(({ id }) => Number(id)), ids.slice(0, 4)); // prettier-ignore
  });

  await t.test("without Postgres orders go on, by what was known last; then changes are learned again", async () => {
    const [credentials, suspended] = [await create("lasting"), await create("suspended-before")];
    const [seen, unseen] = [await house.tokenOf(credentials), await house.tokenOf(credentials)];
    const shut = house.both(await house.tokenOf(suspended));
    await takenEverywhere([...house.both(seen), ...shut]);
    await root.call(admin.updateAccount, { account: "suspended-before", suspended: true });
    await refusedEverywhere(shut);

    house.toPostgres.closed = true;
    const warned = (ingest: Ingest) => ingest.lines.some((line) => line.includes("the accounts cannot be read"));
    await eventually(async () => house.ingests.every(warned), "looks that found no Postgres");
    for (const token of [seen, unseen]) {
      for (const caller of house.both(token)) await caller.call(submitOrder, order());
    }
    assert.deepEqual(codes(await refusedEverywhere(shut)), ["PERMISSION_DENIED", "PERMISSION_DENIED"]);
    const away = await refusalsOf(
      house.caller(undefined).call(issueToken, credentials),
      root.call(admin.createAccount, { account: "later", role: Role.TRADER }),
      root.call(admin.updateAccount, { account: "lasting", suspended: true }),
      root.call(admin.upsertInstrument, { instrument: { symbol: "X", tickSize: "1", lotSize: "1" } }),
    );
    assert.deepEqual(new Set(codes(away)), new Set(["UNAVAILABLE"]));
    house.toPostgres.closed = false;

    await eventually(
      async () => root.call(admin.updateAccount, { account: "lasting", suspended: true }).catch(() => undefined),
      "Postgres",
    );
    await refusedEverywhere(house.both(seen));
  });

  await t.test(
    "one that starts later knows what was revoked; another secret of the environment takes over",
    async () => {
      const credentials = await create("before");
      const [alone, all] = [await house.tokenOf(credentials), await house.tokenOf(await create("before-all"))];
      await house.caller(alone).call(revokeToken, {});
      await root.call(admin.revokeTokens, { account: "before-all" });
      const other = "another secret of the environment";
      house.confidential.push(other);
      await house.start(other);
      for (const token of [alone, all]) {
        assert.equal((await refusalOf(house.caller(token, 2).call(listOrders, {}))).code, "UNAUTHENTICATED");
      }
      await house.caller(await house.tokenOf(credentials), 2).call(submitOrder, order());

      await (await house.logIn({ account: "admin", secret: other })).call(admin.listAccounts, {});
      const old = await refusalOf(house.caller(undefined).call(issueToken, { account: "admin", secret: ADMIN_SECRET }));
      assert.equal(old.code, "UNAUTHENTICATED");
      const ended = await eventually(
        async () => root.call(admin.listAccounts, {}).then(() => undefined, (error: Refusal) => error), // prettier-ignore
        "the end of the tokens of the old secret",
      );
      assert.equal(ended.code, "UNAUTHENTICATED");
    },
  );

  await t.test("no secret and no token is in the logs at level trace, nor in the database", async () => {
    assert.ok(house.confidential.length > 40);
    const logged = house.ingests.flatMap(({ lines }) => lines).join("\n");
    assert.match(logged, /an admin's call was refused/);
    const tables = ["accounts", "account_keys", "revocations", "admin_actions"];
    const stored = await Promise.all(tables.map((table) => house.sql`SELECT * FROM ${house.sql(table)}`));
    const text = `${logged}\n${JSON.stringify(stored)}`;
    for (const secret of house.confidential) assert.ok(!text.includes(secret));
    assert.doesNotMatch(logged, /"level":"(error|fatal)"/);
    const refused = house.ingests[0]!.lines.filter((line) => line.includes("an admin's call was refused")).map(
      (line) => JSON.parse(line) as Record<string, unknown>,
    );
    assert.ok(refused.some(({ method, account }) => method === "ListAccounts" && account === "changing"));
  });
});
