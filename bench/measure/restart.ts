import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { ApiClient, CallError, isRetryable } from "../../src/cli/client.ts";
import { AdminService } from "../../src/gen/penstock/v1/admin_service_pb.ts";
import { type Order, OrderStatus, OrderType, Side, TimeInForce } from "../../src/gen/penstock/v1/order_pb.ts";
import { OrderService, type SubmitOrderRequestSchema } from "../../src/gen/penstock/v1/order_service_pb.ts";
import type { Stack } from "../stack.ts";

/** An engine that was killed and started again. */
export interface Restart {
  /** Orders that rested in its book. */
  readonly resting: number;
  /** From the kill until an order that was sent right behind it was known to be filled. */
  readonly seconds: number;
  /** Whether that order met the oldest one of the best price, and that alone. */
  readonly isRight: boolean;
}

type SubmitOrder = MessageInitShape<typeof SubmitOrderRequestSchema>;

const SYMBOL = "BTC-USD";
const QUANTITY = "0.001";
/** In cents. */
const BEST = 10_000_000;
/** Orders at the best price, from the oldest on: each restart takes one. */
const BEST_ORDERS = 20;
/** Prices over which the others are spread. */
const LEVELS = 20_000;
// SubmitOrders takes no more; eight calls keep ingest busy.
const CALL = 1_000;
const CALLS_UNDER_WAY = 8;
const RETRY_MS = 200;
const POLL_MS = 10;
// A million orders take a minute on a busy machine.
const LIMIT_MS = 300_000;

/** Clients of a stack whose engine is killed. */
export class RestartBench {
  readonly #stack: Stack;
  readonly #trader: ApiClient;
  readonly #admin: ApiClient;
  #restarts = 0;

  constructor(stack: Stack) {
    const url = `127.0.0.1:${stack.target.port}`;
    this.#stack = stack;
    this.#trader = new ApiClient({ url, token: stack.target.token });
    this.#admin = new ApiClient({ url, token: stack.adminToken });
  }

  close(): void {
    this.#trader.close();
    this.#admin.close();
  }

  /** Fills the book with orders to sell. Resolves when the engine has worked them all. */
  async fill(orders: number): Promise<void> {
    for (let n = 0; n < BEST_ORDERS; n++) await this.#submit([sell(`best-${n}`, BEST)]);
    const { account } = await this.#order("best-0");
    const limits = { requestId: `restart-${account}`, account, maxOpenOrders: 2 * orders + BEST_ORDERS };
    await retried(this.#admin, AdminService.method.setAccountLimits, limits);
    let next = 0;
    const send = async (): Promise<void> => {
      while (next < orders) {
        const from = next;
        next = Math.min(next + CALL, orders);
        await this.#submit(
          Array.from({ length: next - from }, (_, i) => sell(`resting-${from + i}`, BEST + 1 + ((from + i) % LEVELS))),
        );
      }
    };
    await Promise.all(Array.from({ length: CALLS_UNDER_WAY }, send));
    await within(async () => (await this.resting()) >= orders + BEST_ORDERS);
  }

  /** How many orders the engine has open; 0 while none answers. */
  async resting(): Promise<number> {
    const { partitions } = await retried(this.#admin, AdminService.method.getPipelineStatus, {});
    return partitions[0]?.engine?.openOrders ?? 0;
  }

  /** Resident bytes of the engine's process. */
  get memory(): number {
    return this.#engine.reduce((sum, pid) => sum + residentBytes(pid), 0);
  }

  async restart(): Promise<Restart> {
    const run = this.#restarts++;
    const resting = await this.resting();
    const killed = performance.now();
    for (const pid of this.#engine) process.kill(pid, "SIGKILL");
    const id = `restart-${run}`;
    await this.#submit([{ ...sell(id, BEST), side: Side.BUY }]);
    let taken = await this.#order(id);
    await within(async () => (taken = await this.#order(id)).status === OrderStatus.FILLED);
    const seconds = (performance.now() - killed) / 1000;
    const [met, behind] = [await this.#order(`best-${run}`), await this.#order(`best-${run + 1}`)];
    const isRight =
      Number(taken.averagePrice) === BEST / 100 &&
      met.status === OrderStatus.FILLED &&
      behind.status === OrderStatus.NEW &&
      (await this.#restingAgain()) === resting - 1;
    return { resting, seconds, isRight };
  }

  // Ingest asks a new engine from the next second on.
  async #restingAgain(): Promise<number> {
    let resting = 0;
    await within(async () => (resting = await this.resting()) > 0);
    return resting;
  }

  get #engine(): readonly number[] {
    return this.#stack.target.processes()["engine"] ?? [];
  }

  /** Each exactly once: the ids are sent again as they are where the answer is no yes. */
  async #submit(orders: readonly SubmitOrder[]): Promise<void> {
    let rest = orders;
    await within(async () => {
      const { results } = await retried(this.#trader, OrderService.method.submitOrders, { orders: [...rest] });
      rest = rest.filter((_, i) => results[i]?.result.case !== "accepted");
      return rest.length === 0;
    }, RETRY_MS);
  }

  async #order(clientOrderId: string): Promise<Order> {
    const { order } = await retried(this.#trader, OrderService.method.getOrder, { symbol: SYMBOL, clientOrderId });
    if (order === undefined) throw new Error(`there is no order ${clientOrderId}`);
    return order;
  }
}

function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
}

function sell(clientOrderId: string, cents: number): SubmitOrder {
  const price = (cents / 100).toFixed(2);
  const kind = { type: OrderType.LIMIT, timeInForce: TimeInForce.GTC };
  return { clientOrderId, symbol: SYMBOL, side: Side.SELL, ...kind, quantity: QUANTITY, price };
}

async function retried<I extends DescMessage, O extends DescMessage>(
  client: ApiClient,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
): Promise<MessageShape<O>> {
  for (let left = LIMIT_MS / RETRY_MS; ; left--) {
    try {
      return await client.call(method, request);
    } catch (error) {
      if (left === 0 || !(error instanceof CallError) || !isRetryable(error.code)) throw error;
      await delay(RETRY_MS);
    }
  }
}

async function within(condition: () => Promise<boolean>, pollMs = POLL_MS): Promise<void> {
  const last = Date.now() + LIMIT_MS;
  while (!(await condition())) {
    if (Date.now() > last) throw new Error(`that took more than ${LIMIT_MS / 1000} s`);
    await delay(pollMs);
  }
}
