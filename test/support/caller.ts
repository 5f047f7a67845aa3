import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import type { ChannelOptions, ClientUnaryCall, ServiceError } from "@grpc/grpc-js";

import { BadRequestSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../../src/gen/google/rpc/status_pb.ts";
import type { Status } from "../../src/gen/google/rpc/status_pb.ts";

/** A refusal as it came over the wire, details unpacked. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  /** "NOT_FOUND" */
  readonly code: string;
  /** The fields at fault, sorted. */
  readonly fields: readonly string[];
  readonly retryAfterMs: number | undefined;

  constructor(code: number, message: string, details: Status | undefined) {
    super(`${status[code]}: ${message}`);
    this.code = status[code] ?? String(code);
    const bad = details?.details
      .map((detail) => anyUnpack(detail, BadRequestSchema))
      .find((found) => found !== undefined);
    this.fields = (bad?.fieldViolations ?? []).map(({ field }) => field).sort();
    const retry = details?.details
      .map((detail) => anyUnpack(detail, RetryInfoSchema))
      .find((found) => found !== undefined);
    const delay = retry?.retryDelay;
    this.retryAfterMs = delay && Number(delay.seconds) * 1_000 + delay.nanos / 1_000_000;
  }
}

export interface CallOptions {
  readonly deadlineMs?: number;
  /** Sent in place of the request. */
  readonly bytes?: Buffer;
  /** Is handed the call, to cancel it. */
  readonly onCall?: (call: ClientUnaryCall) => void;
}

/** For a client whose way to the server may end without its being told: it then finds another within four seconds. */
export const KEEPALIVE: ChannelOptions = { "grpc.keepalive_time_ms": 2_000, "grpc.keepalive_timeout_ms": 2_000 };

/** A client of one connection that shows what came over the wire. */
export class Caller {
  readonly client: Client;
  readonly metadata = new Metadata();

  /** With a `ca` (PEM) over TLS, else in clear. */
  constructor(address: string, token?: string, ca?: Buffer, options: ChannelOptions = {}) {
    this.client = new Client(address, ca ? credentials.createSsl(ca) : credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 500,
      "grpc.max_send_message_length": -1,
      ...options,
    });
    if (token !== undefined) this.metadata.set("authorization", token);
  }

  /** @throws Refusal */
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    const { promise, resolve, reject } = Promise.withResolvers<MessageShape<O>>();
    const call = this.client.makeUnaryRequest(
      `/${method.parent.typeName}/${method.name}`,
      (message: MessageShape<I>) => options.bytes ?? Buffer.from(toBinary(method.input, message)),
      (bytes) => fromBinary(method.output, bytes),
      create(method.input, request),
      this.metadata,
      options.deadlineMs === undefined ? {} : { deadline: Date.now() + options.deadlineMs },
      (error, response) => (error === null ? resolve(response!) : reject(toRefusal(error))),
    );
    options.onCall?.(call);
    return promise;
  }

  close(): void {
    this.client.close();
  }
}

export function toRefusal(error: ServiceError): Refusal {
  const [encoded] = error.metadata.get("grpc-status-details-bin");
  return new Refusal(
    error.code,
    error.details,
    encoded instanceof Buffer ? fromBinary(StatusSchema, encoded) : undefined,
  );
}

/** The refusal that a call is answered with. @throws where it is answered otherwise. */
export async function refusalOf(call: Promise<unknown>): Promise<Refusal> {
  try {
    await call;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error("the call was not refused");
}

/** The same of several calls at once. */
export function refusalsOf(...calls: readonly Promise<unknown>[]): Promise<Refusal[]> {
  return Promise.all(calls.map(refusalOf));
}
