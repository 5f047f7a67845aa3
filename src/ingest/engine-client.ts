import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Client, connectivityState, credentials, type ServiceError, status } from "@grpc/grpc-js";
import {
  EnginePartitionStatus_State as State,
  EngineService,
  type EnginePartitionStatus,
  type GetEngineBookAtResponse,
  type GetEngineBookResponse,
  type GetEngineOrderResponse,
} from "../gen/penstock/v1/engine_service_pb.ts";
import { RequestError, resourceExhausted } from "./errors.ts";

/** An engine answers out of its memory, in milliseconds; it may be busy with an entry or a snapshot, not for this long. */
const TIMEOUT_MS = 1_000;
/** A replay says within a second that it is under way, and a few may wait before it. */
const REPLAY_TIMEOUT_MS = 6_000;
/** As long as it goes on with others' questions in between. */
const REPLAY_RETRY_MS = 100;
/** An engine that ended is started again within about this. */
const RETRY_AFTER_MS = 500;
/** To each engine: a large book on one does not hold up what goes by the other. */
const CHANNELS = 2;
/** As many levels as an engine tells (10,000 a side) take 0.6 MB; what an entry did, beside them, 3 MB. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
/** A machine that went silent is noticed within 15 s, though nobody asks: the first call then finds another connection. */
const KEEPALIVE_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 5_000;

/** Of several engines that know a partition, the one whose state counts comes first. */
const RANK: readonly number[] = [State.ACTIVE, State.STANDBY, State.STOPPED, State.STARTING];

/**
 * Asks the engines, each by a few channels that are kept alive. Every call ends within a second, or at its own deadline
 * where that comes first; where an engine does not answer, the next one is asked. What they tell is in ticks and lots.
 */
export class EngineClient {
  readonly #engines: readonly Engine[];
  /** The one that answered last: it is asked first. */
  #preferred = 0;

  /** One URL an engine: `http://host:port`. */
  constructor(urls: readonly string[]) {
    this.#engines = urls.map((url) => new Engine(url));
  }

  /**
   * The best `depth` levels of each side, 0 for all (at most 10,000), best first; `deadline` in ms since 1970. Rejects with a
   * RequestError: NOT_FOUND where the engine does not know the symbol, UNAVAILABLE where no engine answers.
   */
  getBook(symbol: string, depth: number, deadline?: number): Promise<GetEngineBookResponse> {
    return this.#ask(EngineService.method.getEngineBook, { symbol, depth }, deadline);
  }

  /**
   * The book behind the last entry that touched it at or before an ID ("" for all), as `getBook` gives it. Rejects with a RequestError
   * that says when to ask again while the replay is under way; OUT_OF_RANGE, RESOURCE_EXHAUSTED.
   */
  getBookAt(symbol: string, entryId: string, depth: number, deadline: number): Promise<GetEngineBookAtResponse> {
    const until = Math.min(deadline, Date.now() + REPLAY_TIMEOUT_MS);
    return this.#askUntil(EngineService.method.getEngineBookAt, { symbol, entryId, depth }, until);
  }

  /** An open order, by the 16 bytes of its id. Rejects as `getBook`: NOT_FOUND where it is not open. */
  getOrder(orderId: Uint8Array, deadline?: number): Promise<GetEngineOrderResponse> {
    return this.#ask(EngineService.method.getEngineOrder, { orderId }, deadline);
  }

  /** Of each partition the state of the engine that counts: the active one. Without those that no engine tells of. */
  async getStatus(deadline?: number): Promise<readonly EnginePartitionStatus[]> {
    const until = timeLimit(deadline);
    const asked = this.#engines.map((engine) => engine.call(EngineService.method.getEngineStatus, {}, until));
    const told = (await Promise.allSettled(asked)).flatMap((outcome) =>
      outcome.status === "fulfilled" ? outcome.value.partitions : [],
    );
    const best = new Map<number, EnginePartitionStatus>();
    for (const status of told) {
      const present = best.get(status.partition);
      if (present === undefined || rank(status) < rank(present)) best.set(status.partition, status);
    }
    return [...best.values()].sort((a, b) => a.partition - b.partition);
  }

  close(): void {
    for (const engine of this.#engines) engine.close();
  }

  #ask<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    deadline: number | undefined,
  ): Promise<MessageShape<O>> {
    return this.#askUntil(method, request, timeLimit(deadline));
  }

  async #askUntil<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    until: number,
  ): Promise<MessageShape<O>> {
    const first = this.#preferred;
    let cause: unknown;
    for (let left = this.#engines.length; left > 0; left--) {
      const next = (first + this.#engines.length - left) % this.#engines.length;
      const now = Date.now();
      try {
        // One that hangs leaves the others their share of the time.
        const answer = await this.#engines[next]!.call(method, request, now + (until - now) / left);
        this.#preferred = next;
        return answer;
      } catch (error) {
        const refusal = refusalOf(error as ServiceError);
        if (refusal !== undefined) {
          this.#preferred = next;
          throw refusal;
        }
        cause = error;
      }
    }
    throw new RequestError("UNAVAILABLE", "no engine answers at present", { retryAfterMs: RETRY_AFTER_MS, cause });
  }
}

/** The channels to one engine, used in turn. */
class Engine {
  readonly #channels: readonly Client[];
  #turn = 0;

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    const address = `${hostname}:${port || 80}`;
    this.#channels = Array.from(
      { length: CHANNELS },
      () =>
        new Client(address, credentials.createInsecure(), {
          "grpc.use_local_subchannel_pool": 1, // else both would share one connection
          "grpc.max_receive_message_length": MAX_ANSWER_BYTES,
          "grpc.keepalive_time_ms": KEEPALIVE_MS,
          "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
          "grpc.keepalive_permit_without_calls": 1,
          "grpc.initial_reconnect_backoff_ms": 100,
          "grpc.max_reconnect_backoff_ms": 300, // one that was started again is found within this
          "grpc.enable_channelz": 0,
          "grpc.enable_http_proxy": 0, // whatever the environment says: engines are within the deployment
        }),
    );
  }

  /** Rejects with a ServiceError. */
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    deadline: number,
  ): Promise<MessageShape<O>> {
    const { promise, resolve, reject } = Promise.withResolvers<MessageShape<O>>();
    this.#channel().makeUnaryRequest(
      `/${method.parent.typeName}/${method.name}`,
      (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
      (bytes) => fromBinary(method.output, bytes),
      create(method.input, request),
      { deadline },
      (error, answer) => (error === null ? resolve(answer!) : reject(error)),
    );
    return promise;
  }

  close(): void {
    for (const channel of this.#channels) channel.close();
  }

  /** The next in turn, but for those that wait before they connect again: after a restart one is back before the other. */
  #channel(): Client {
    for (let i = 0; i < CHANNELS; i++) {
      this.#turn = (this.#turn + 1) % CHANNELS;
      const state = this.#channels[this.#turn]!.getChannel().getConnectivityState(true);
      if (state !== connectivityState.TRANSIENT_FAILURE) break;
    }
    return this.#channels[this.#turn]!;
  }
}

/** What no other engine would answer otherwise. */
function refusalOf({ code, details }: ServiceError): RequestError | undefined {
  if (code === status.NOT_FOUND || code === status.OUT_OF_RANGE) {
    return new RequestError(code === status.NOT_FOUND ? "NOT_FOUND" : "OUT_OF_RANGE", details);
  }
  if (code === status.ABORTED) return new RequestError("UNAVAILABLE", details, { retryAfterMs: REPLAY_RETRY_MS });
  // What grpc-js itself says of an answer that is too large.
  if (code === status.RESOURCE_EXHAUSTED && !details.startsWith("Received message")) {
    return resourceExhausted(details, RETRY_AFTER_MS);
  }
  return undefined;
}

function timeLimit(deadline = Infinity): number {
  return Math.min(deadline, Date.now() + TIMEOUT_MS);
}

/** One that this code does not know comes last. */
function rank({ state }: EnginePartitionStatus): number {
  const found = RANK.indexOf(state);
  return found < 0 ? RANK.length : found;
}
