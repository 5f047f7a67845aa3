import assert from "node:assert/strict";
import { once } from "node:events";
import { test, type TestContext } from "node:test";

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport, type HandlerContext } from "@connectrpc/connect";

import { StatusSchema } from "../../../src/gen/google/rpc/status_pb.ts";
import {
  LiveService,
  Subscription,
  type WatchRequest,
  type WatchResponse,
  WatchResponseSchema,
} from "../../../src/gen/penstock/v1/live_service_pb.ts";
import { WatchTradesRequestSchema } from "../../../src/gen/penstock/v1/market_data_service_pb.ts";
import { clientsOf } from "../api/clients.ts";
import { type Failure } from "../api/failure.ts";
import { Live, type Topic } from "./live.ts";

/** One opened stream at the server's side: it answers what the test says, until the test or the client ends it. */
class Stream {
  readonly request: WatchRequest;
  readonly signal: AbortSignal;
  #next = Promise.withResolvers<WatchResponse | undefined>();
  readonly #queue = [this.#next];

  constructor(request: WatchRequest, signal: AbortSignal) {
    this.request = request;
    this.signal = signal;
  }

  say(response: WatchResponse | undefined): void {
    this.#next.resolve(response);
    this.#queue.push((this.#next = Promise.withResolvers()));
  }

  fail(error: ConnectError): void {
    this.#next.reject(error);
  }

  async *answers(): AsyncGenerator<WatchResponse> {
    for (let turn = this.#queue.shift(); turn !== undefined; turn = this.#queue.shift()) {
      const response = await turn.promise;
      if (response === undefined) return;
      yield response;
    }
  }
}

class Trades implements Topic {
  readonly subscription = Subscription.TRADES;
  readonly symbol: string;
  taken = 0;
  readonly failures: [Failure, boolean][] = [];
  onTake = (): void => {};

  constructor(symbol: string) {
    this.symbol = symbol;
  }

  ask(request: WatchRequest): void {
    request.trades.push(create(WatchTradesRequestSchema, { symbol: this.symbol }));
  }

  take(): void {
    this.taken++;
    this.onTake();
  }

  interrupted(failure: Failure, again: boolean): void {
    this.failures.push([failure, again]);
  }
}

function tradesOf(symbol: string): WatchResponse {
  return create(WatchResponseSchema, { symbol, update: { case: "trades", value: { trades: [] } } });
}

function endedOf(symbol: string, code: Code): WatchResponse {
  const status = create(StatusSchema, { code, message: "why" });
  const value = { subscription: Subscription.TRADES, status };
  return create(WatchResponseSchema, { symbol, update: { case: "ended", value } });
}

/** A Live whose server is the test. */
function start(t: TestContext) {
  const opened: Stream[] = [];
  const waiting: ((stream: Stream) => void)[] = [];
  const transport = createRouterTransport(({ service }) => {
    service(LiveService, {
      watch: (request: WatchRequest, { signal }: HandlerContext) => {
        const stream = new Stream(request, signal);
        const waiter = waiting.shift();
        if (waiter === undefined) opened.push(stream);
        else waiter(stream);
        return stream.answers();
      },
    });
  });
  let sessionEnds = 0;
  const live = new Live(clientsOf(transport), () => sessionEnds++);
  t.after(() => live.close());
  return {
    live,
    sessionEnds: () => sessionEnds,
    next: async (): Promise<Stream> => opened.shift() ?? (await new Promise((resolve) => waiting.push(resolve))),
  };
}

const symbolsOf = ({ request }: Stream): string[] => request.trades.map(({ symbol }) => symbol);

async function taken(topic: Trades, stream: Stream): Promise<void> {
  const done = new Promise<void>((resolve) => (topic.onTake = resolve));
  stream.say(tradesOf(topic.symbol));
  await done;
}

test("what is watched changes by another stream, and the one before is closed", async (t) => {
  const { live, next } = start(t);
  const [a, b] = [new Trades("A"), new Trades("B")];
  live.add(a);
  const removeB = live.add(b);
  const first = await next();
  assert.deepEqual(symbolsOf(first), ["A", "B"]);
  await taken(a, first);
  assert.equal(live.state.value.mode, "live");
  removeB();
  const second = await next();
  assert.deepEqual(symbolsOf(second), ["A"]);
  if (!first.signal.aborted) await once(first.signal, "abort");
  assert.deepEqual(b.failures, []);
});

test("a stream that breaks is opened again, after a while, and its topics are told", async (t) => {
  const { live, next } = start(t);
  const topic = new Trades("A");
  live.add(topic);
  const first = await next();
  await taken(topic, first);
  first.fail(new ConnectError("gone", Code.Unavailable));
  const second = await next();
  assert.deepEqual(symbolsOf(second), ["A"]);
  assert.equal(topic.failures[0]?.[1], true);
  assert.equal(live.state.value.mode, "reconnecting");
  await taken(topic, second);
  assert.equal(live.state.value.mode, "live");
});

test("one subscription that ends is asked for again with the others", async (t) => {
  const { live, next } = start(t);
  const [a, b] = [new Trades("A"), new Trades("B")];
  live.add(a);
  live.add(b);
  const first = await next();
  await taken(a, first);
  first.say(endedOf("B", Code.Unavailable));
  const second = await next();
  assert.deepEqual(symbolsOf(second), ["A", "B"]);
  assert.deepEqual(
    b.failures.map(([, again]) => again),
    [true],
  );
  assert.deepEqual(a.failures, []);
});

test("one that is refused for good is not asked for again", async (t) => {
  const { live, next } = start(t);
  const [a, b] = [new Trades("A"), new Trades("B")];
  live.add(a);
  live.add(b);
  const first = await next();
  first.say(endedOf("B", Code.NotFound));
  await taken(a, first);
  assert.deepEqual(
    b.failures.map(([, again]) => again),
    [false],
  );
  live.add(new Trades("C"));
  assert.deepEqual(symbolsOf(await next()), ["A", "C"]);
});

test("where the session has ended nobody tries again", async (t) => {
  const { live, next, sessionEnds } = start(t);
  live.add(new Trades("A"));
  const first = await next();
  const ended = once(first.signal, "abort");
  first.fail(new ConnectError("the token has expired", Code.Unauthenticated));
  await ended;
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(sessionEnds(), 1);
});
