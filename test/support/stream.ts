import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";

import {
  OrderService,
  StreamOrdersRequestSchema,
  type StreamOrdersResponse,
  StreamOrdersResponseSchema,
} from "../../src/gen/penstock/v1/order_service_pb.ts";
import { type Caller, type Refusal, toRefusal } from "./caller.ts";

type Command = NonNullable<MessageInitShape<typeof StreamOrdersRequestSchema>["command"]>;

const PATH = `/${OrderService.typeName}/${OrderService.method.streamOrders.name}`;

export interface StreamOptions {
  readonly deadlineMs?: number;
  /** In place of the caller's. */
  readonly token?: string;
}

/** A StreamOrders as a client sees it. Answers are kept in the order in which they came. */
export class TestStream {
  readonly call: ClientDuplexStream<Buffer, Buffer>;
  readonly answers: StreamOrdersResponse[] = [];
  /** Undefined for OK. */
  readonly ended: Promise<Refusal | undefined>;
  over = false;
  #sequence = 0n;

  constructor(caller: Caller, { deadlineMs, token }: StreamOptions = {}) {
    const metadata = caller.metadata.clone();
    if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
    const identity = (bytes: Buffer) => bytes;
    const options = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
    this.call = caller.client.makeBidiStreamRequest(PATH, identity, identity, metadata, options);
    this.call.on("data", (bytes: Buffer) => this.answers.push(fromBinary(StreamOrdersResponseSchema, bytes)));
    const { promise, resolve } = Promise.withResolvers<Refusal | undefined>();
    this.ended = promise.finally(() => (this.over = true));
    this.call.on("error", (error: ServiceError) => resolve(toRefusal(error)));
    this.call.on("end", () => resolve(undefined));
  }

  /** Returns its sequence. */
  send(command: Command, sequence = this.#sequence + 1n, cancelOnDisconnect = false): bigint {
    this.#sequence = sequence;
    const request = create(StreamOrdersRequestSchema, { sequence, command, cancelOnDisconnect });
    this.write(Buffer.from(toBinary(StreamOrdersRequestSchema, request)));
    return sequence;
  }

  write(bytes: Buffer): void {
    this.call.write(bytes);
  }

  /** Sends no more. Resolves when the stream has ended. */
  async close(): Promise<Refusal | undefined> {
    this.call.end();
    return this.ended;
  }
}
