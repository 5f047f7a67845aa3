import { create, type DescMethodUnary, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { Logger } from "pino";
import { EngineService } from "../gen/penstock/v1/engine_service_pb.ts";
import { delay } from "../runtime/backoff.ts";
import { GrpcHealth } from "../runtime/grpc-health.ts";
import { muteGrpc } from "../runtime/grpc-log.ts";
import type { Service } from "../runtime/service.ts";
import { EngineUnavailableError } from "./engine-run.ts";
import { type EngineAnswers, NotFoundError } from "./engine-service.ts";
import { TooOldError, UnderWayError } from "./replay/book-replay.ts";
import { ReplaysBusyError } from "./replay/book-replays.ts";

export interface EngineServerOptions {
  readonly bind: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly answers: EngineAnswers;
  readonly log: Logger;
}

/** A symbol and a number, or an id. */
const MAX_REQUEST_BYTES = 1_024;
/** Of a connection; an ingest process has a few, and asks for one thing at a time for each of its clients' calls. */
const MAX_CONCURRENT_STREAMS = 1_000;
/** An ingest that went silent is noticed within half a minute. */
const KEEPALIVE_MS = 20_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
/** Answers take milliseconds. What is left after this waits for a log that does not answer. */
const DRAIN_MS = 2_000;

/**
 * EngineService with grpc.health.v1, for the ingest of the same deployment: it asks for no token, and so listens where nobody
 * else reaches it.
 */
export class EngineServer implements Service {
  readonly name = "grpc";
  readonly #options: EngineServerOptions;
  readonly #health = new GrpcHealth([EngineService.typeName]);
  readonly #server = new Server({
    "grpc.max_receive_message_length": MAX_REQUEST_BYTES,
    "grpc.max_concurrent_streams": MAX_CONCURRENT_STREAMS,
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    "grpc.enable_channelz": 0,
  });
  #port = 0;

  constructor(options: EngineServerOptions) {
    this.#options = options;
    const { answers } = options;
    const { getEngineBook, getEngineBookAt, getEngineOrder, getEngineStatus } = EngineService.method;
    this.#add([
      this.#method(getEngineBook, (request) => answers.book(request)),
      this.#method(getEngineBookAt, (request) => answers.bookAt(request)),
      this.#method(getEngineOrder, (request) => answers.order(request)),
      this.#method(getEngineStatus, () => answers.status()),
    ]);
    this.#health.addTo(this.#server);
    muteGrpc();
  }

  /** Where it listens, once it has started: `127.0.0.1:50052`. */
  get address(): string {
    const { bind } = this.#options;
    return `${bind.includes(":") ? `[${bind}]` : bind}:${this.#port}`;
  }

  async start(): Promise<void> {
    this.#port = this.#options.port;
    this.#port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(this.address, ServerCredentials.createInsecure(), (error, port) =>
        error === null ? resolve(port) : reject(error),
      );
    });
    this.#options.log.info({ address: this.address }, "engine's gRPC");
  }

  /** No new calls; those under way end, or are cut. */
  async stop(): Promise<void> {
    this.#health.stop();
    // Without channelz forceShutdown knows of no connection.
    this.#server.drain(this.address, DRAIN_MS);
    const drained = new AbortController();
    const ended = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    await Promise.race([ended, delay(DRAIN_MS, drained.signal)]);
    drained.abort();
  }

  #add(methods: readonly Method[]): void {
    const definition = Object.fromEntries(methods.map(({ name, definition }) => [name, definition]));
    const handlers = Object.fromEntries(methods.map(({ name, handler }) => [name, handler]));
    this.#server.addService(definition as unknown as ServiceDefinition, handlers);
  }

  #method<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    answer: (request: MessageShape<I>) => Promise<MessageInitShape<O>>,
  ): Method {
    const { log } = this.#options;
    const respond = async (call: ServerUnaryCall<MessageShape<I>, object>, callback: sendUnaryData<object>) => {
      try {
        callback(null, await answer(call.request));
      } catch (error) {
        const code = CODES.find(([of]) => error instanceof of)?.[1];
        if (code !== undefined) callback({ code, details: (error as Error).message });
        else {
          log.error({ err: error, method: method.name }, "internal error");
          callback({ code: status.INTERNAL, details: "internal error" });
        }
      }
    };
    return {
      name: method.localName,
      definition: {
        path: `/${method.parent.typeName}/${method.name}`,
        requestStream: false,
        responseStream: false,
        requestSerialize: (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
        requestDeserialize: (bytes: Buffer) => fromBinary(method.input, bytes),
        responseSerialize: (message: MessageInitShape<O>) =>
          Buffer.from(toBinary(method.output, create(method.output, message))),
        responseDeserialize: (bytes: Buffer) => fromBinary(method.output, bytes),
      },
      handler: (call: ServerUnaryCall<MessageShape<I>, object>, callback: sendUnaryData<object>) =>
        void respond(call, callback),
    };
  }
}

/** What is no mistake of ours. */
const CODES: readonly (readonly [new (message: string) => Error, status])[] = [
  [NotFoundError, status.NOT_FOUND],
  [EngineUnavailableError, status.UNAVAILABLE],
  [UnderWayError, status.ABORTED],
  [TooOldError, status.OUT_OF_RANGE],
  [ReplaysBusyError, status.RESOURCE_EXHAUSTED],
];

interface Method {
  readonly name: string;
  readonly definition: object;
  readonly handler: UntypedServiceImplementation[string];
}
