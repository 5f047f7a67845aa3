import { create } from "@bufbuild/protobuf";
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";

import { OrderService, StreamOrdersRequestSchema } from "../../gen/penstock/v1/order_service_pb.ts";
import type { StreamOrdersRequest, StreamOrdersResponse } from "../../gen/penstock/v1/order_service_pb.ts";
import { Backoff, delay } from "../../runtime/backoff.ts";
import { CallError, isCut, isRetryable, retryDelayIn, toCallError, violationsIn } from "../client.ts";
import type { ApiClient } from "../client.ts";
import { orderOf } from "./step.ts";
import type { Send } from "./step.ts";

/** From there on the server reads no further (see StreamOrders in the protos). */
const MAX_UNDER_WAY = 1_000;
/** The server answers a command within 10 s by default, or ends the stream. */
const SILENCE_MS = 30_000;
/** A restart of ingest, or of its Redis, takes less. */
const GIVE_UP_MS = 60_000;

export type Outcome = Exclude<StreamOrdersResponse["result"], { case: undefined }>;

interface UnderWay {
  readonly send: Send;
  outcome: Outcome | undefined;
}

type Stream = ClientDuplexStream<StreamOrdersRequest, StreamOrdersResponse>;

/**
 * Commands on their way through StreamOrders, one after the other, until each is accepted or refused for good. What may be
 * taken a moment later (an overload, a cut) is sent again under the same ids.
 *
 * Always true:
 * - `#underWay` holds what was sent on `#stream` and is not settled, in the order of sending; at most MAX_UNDER_WAY.
 * - Commands are settled in that order; at a cut those that are answered already come before those that are not.
 * - `#again` holds, in that order, what has to be sent again: nothing new is sent while there is any, and it is sent when nothing is
 *   under way any more.
 */
export class OrderFlow {
  /** Commands that were sent again. Those that followed them were in the log before them then. */
  resent = 0;
  readonly #api: ApiClient;
  readonly #onSettled: (send: Send, outcome: Outcome) => void;
  readonly #backoff = new Backoff(100, 5_000);
  readonly #underWay = new Map<number, UnderWay>();
  #again: Send[] = [];
  /** What a command in `#again` concerns; undefined stands for a mass cancel. */
  readonly #heldUp = new Set<string | undefined>();
  #stream: Stream | undefined;
  #sequence = 0;
  /** Why something has to be sent again; since when nothing was settled; how long the server asked to wait. */
  #trouble: CallError | undefined;
  #stuckSince: number | undefined;
  #waitMs = 0;
  #failure: Error | undefined;
  #wake = (): void => undefined;

  constructor(api: ApiClient, onSettled: (send: Send, outcome: Outcome) => void) {
    this.#api = api;
    this.#onSettled = onSettled;
  }

  /** Commands that were sent and are not settled. */
  get unsettled(): number {
    return this.#underWay.size + this.#again.length;
  }

  /** Resolves when it is on its way. @throws CallError where the server is away for too long, or takes nothing of ours. */
  async send(send: Send): Promise<void> {
    await this.#until(() => this.#underWay.size < MAX_UNDER_WAY && this.#stream?.writableNeedDrain !== true);
    this.#write(send);
  }

  /** Resolves when all is settled. @throws as `send`. */
  async finish(): Promise<void> {
    await this.#until(() => this.#underWay.size === 0);
    this.close();
  }

  /** What is not settled yet never will be. */
  close(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    if (this.#underWay.size === 0) stream?.end();
    else stream?.cancel();
  }

  async #until(isReady: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#again.length > 0 && this.#underWay.size === 0) await this.#sendAgain();
      if (this.#again.length === 0 && isReady()) return;
      await this.#change();
    }
  }

  /** Until there is an answer, the stream takes more or ends. One that is silent for too long is given up. */
  async #change(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const silence = setTimeout(() => this.#stream?.cancel(), SILENCE_MS);
    this.#wake = resolve;
    await promise;
    clearTimeout(silence);
  }

  #write(send: Send): void {
    this.#stream ??= this.#open();
    const sequence = ++this.#sequence;
    this.#underWay.set(sequence, { send, outcome: undefined });
    this.#stream.write(create(StreamOrdersRequestSchema, { sequence: BigInt(sequence), command: send.command }));
  }

  #open(): Stream {
    const stream = this.#api.duplex(OrderService.method.streamOrders);
    stream.on("data", (answer: StreamOrdersResponse) => this.#take(answer));
    stream.on("drain", () => this.#wake());
    stream.on("error", (error: ServiceError) => this.#ended(stream, toCallError(error)));
    stream.on("end", () => this.#ended(stream, new CallError(14, "the server ended the stream", [])));
    return stream;
  }

  #take({ sequence, result }: StreamOrdersResponse): void {
    const answered = this.#underWay.get(Number(sequence));
    // An answer of a stream that was given up: its command is sent again.
    if (answered === undefined || result.case === undefined) return;
    answered.outcome = result;
    for (const [sequence, { send, outcome }] of this.#underWay) {
      if (outcome === undefined) break;
      this.#underWay.delete(sequence);
      this.#settle(send, outcome);
    }
    this.#wake();
  }

  #settle(send: Send, outcome: Outcome): void {
    const order = orderOf(send.command);
    if (outcome.case === "refused" && isRetryable(outcome.value.code)) {
      const { code, message, details } = outcome.value;
      this.#troubled(new CallError(code, message, violationsIn(details)), retryDelayIn(details));
      this.#again.push(send);
      this.#heldUp.add(order);
      return;
    }
    // It was taken, and what it rests on was not: the engine has refused it by now. Under the same id it would be a duplicate.
    if (outcome.case !== "refused" && send.command.case !== "submit" && this.#isHeldUp(order)) {
      const { value } = send.command;
      value.clientRequestId = `${value.clientRequestId.slice(0, 63)}~`;
      this.#again.push(send);
      return;
    }
    if (this.#stuckSince !== undefined) {
      this.#stuckSince = undefined;
      this.#backoff.reset();
    }
    this.#onSettled(send, outcome);
  }

  #isHeldUp(order: string | undefined): boolean {
    if (this.#heldUp.size === 0) return false;
    return order === undefined || this.#heldUp.has(order) || this.#heldUp.has(undefined);
  }

  #ended(stream: Stream, error: CallError): void {
    if (stream !== this.#stream) return;
    this.#stream = undefined;
    if (!isCut(error.code)) this.#failure = error;
    const left = [...this.#underWay.values()];
    this.#underWay.clear();
    for (const { send, outcome } of left) {
      if (outcome === undefined) this.#again.push(send);
      else this.#settle(send, outcome);
    }
    // A stream that ended while nothing was under way is no trouble: the next command opens another.
    if (this.#again.length > 0) this.#troubled(error, 0);
    this.#wake();
  }

  #troubled(error: CallError, leastWaitMs: number): void {
    this.#trouble = error;
    this.#stuckSince ??= performance.now();
    this.#waitMs = Math.max(this.#waitMs, leastWaitMs);
  }

  async #sendAgain(): Promise<void> {
    if (this.#stuckSince !== undefined && performance.now() - this.#stuckSince > GIVE_UP_MS) throw this.#trouble!;
    await delay(Math.max(this.#waitMs, this.#backoff.next()));
    this.#waitMs = 0;
    const again = this.#again;
    this.#again = [];
    this.#heldUp.clear();
    this.resent += again.length;
    for (const send of again) this.#write(send);
  }
}
