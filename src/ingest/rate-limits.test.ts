import assert from "node:assert/strict";
import { test } from "node:test";

import type { Principal } from "./auth/tokens.ts";
import { OrderService } from "../gen/penstock/v1/order_service_pb.ts";
import { RequestError } from "./errors.ts";
import { RateLimits } from "./rate-limits.ts";

const of = (account: string, rateLimit = 0): Principal => {
  return { account, role: "trader", suspended: false, rateLimit, tokenId: "", expiresAtMs: Infinity };
};

/** When to come again, in ms; undefined where it was taken. */
function refusal(limits: RateLimits, principal: Principal, n: number): number | undefined {
  try {
    limits.take(principal, n);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof RequestError);
    assert.equal(error.code, "RESOURCE_EXHAUSTED");
    return error.retryAfterMs;
  }
}

test("without a limit nothing is refused", () => {
  const limits = new RateLimits(0);
  for (let i = 0; i < 100; i++) assert.equal(refusal(limits, of("a"), 1_000_000), undefined);
});

test("an account's own limit stands above the default", () => {
  const limits = new RateLimits(1);
  assert.equal(refusal(limits, of("a", 2_000), 2_000), undefined, "a second's worth at once");
  assert.equal(refusal(limits, of("b"), 1_000), undefined, "the largest batch, however low the limit is");
  assert.ok(refusal(limits, of("b"), 1)! > 900);
  const wait = refusal(limits, of("a", 2_000), 100)!;
  assert.ok(wait > 0 && wait <= 50);
});

test("a batch that does not fit takes nothing", () => {
  const limits = new RateLimits(1);
  limits.take(of("a"), 999);
  assert.ok(refusal(limits, of("a"), 1_000)! > 998_000);
  assert.equal(refusal(limits, of("a"), 1), undefined);
});

test("a batch counts its orders, and takes them all at once or none", async () => {
  const limits = new RateLimits(1);
  const methods = { submitOrders: { access: "trade", serve } } as const;
  const served = { service: OrderService, streams: {}, watches: {}, methods };
  const { submitOrders } = limits.around(served).methods;
  const batch = (n: number) => submitOrders!.serve({ orders: Array(n) } as never, { principal: of("a") } as never);
  limits.take(of("a"), 998);
  // Refused again and again it must not use up what there is, or who comes when it was told would never be taken.
  for (let i = 0; i < 10; i++) assert.throws(() => void batch(500), RequestError);
  await batch(2);
});

const serve = async () => ({});
