import {
  createRegistry,
  type DescMessage,
  type DescMethod,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type Message,
  type MessageInitShape,
} from "@bufbuild/protobuf";
import { createConnectRouter, type HandlerContext } from "@connectrpc/connect";
import type { UniversalHandlerFn } from "@connectrpc/connect/protocol";
import { BadRequestSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { COMPRESSIONS } from "./compression.ts";
import type { Access, ServedMethod, ServedService, ServedStream } from "./served.ts";

/** Of the body as it comes and of the message in it: who needs no token sends an account's name and its secret. */
const ANYONE_BYTES = 4_096;
/** An answer that fits in one packet comes no sooner for being smaller. Tokens and secrets are shorter, so they are never compressed. */
const COMPRESS_MIN_BYTES = 1_400;

export type Answer = MessageInitShape<DescMessage>;

/** A method as connect serves it. */
export interface Route {
  readonly method: DescMethod;
  readonly access: Access;
  /** Of the message, packed or not. */
  readonly mostBytes: number;
  /** Whether one request has many answers. */
  readonly isStream: boolean;
  readonly handle: UniversalHandlerFn;
}

export interface HttpMethodsOptions {
  readonly services: readonly ServedService[];
  readonly maxMessageBytes: number;
  /** Ends the calls under way. */
  readonly shutdownSignal: AbortSignal;
  /** Before the body is read; what it throws is the answer. */
  readonly admit: (context: HandlerContext) => Promise<void>;
  readonly serve: (served: ServedMethod, message: object, context: HandlerContext) => Promise<Answer>;
  readonly stream: (served: ServedStream, message: Message, context: HandlerContext) => AsyncGenerator<Message>;
}

/** The methods by their paths. */
export class HttpMethods {
  readonly #routes = new Map<string, Route>();
  /** Methods that are streams both ways: not served here. */
  readonly #bidirectional = new Set<string>();

  constructor({ services, maxMessageBytes, shutdownSignal, admit, serve, stream }: HttpMethodsOptions) {
    const options = {
      grpc: false,
      acceptCompression: COMPRESSIONS,
      compressMinBytes: COMPRESS_MIN_BYTES,
      // Kept, each would be an object: a megabyte that holds nothing else took 460 ms and 95 MB.
      binaryOptions: { readUnknownFields: false },
      // The registry is for the refusals within a batch's answer, which hold their details as google.protobuf.Any.
      jsonOptions: { ignoreUnknownFields: false, registry: createRegistry(BadRequestSchema, RetryInfoSchema) },
      shutdownSignal,
      requestGate: admit,
    };
    for (const { service, methods, streams } of services) {
      for (const method of service.methods) {
        const path = `/${service.typeName}/${method.name}`;
        const served = methods[method.localName];
        const streamed = method.methodKind === "server_streaming" ? streams[method.localName] : undefined;
        const access = (served ?? streamed)?.access;
        if (access === undefined) {
          this.#bidirectional.add(path);
          continue;
        }
        const mostBytes = access === "anyone" ? Math.min(ANYONE_BYTES, maxMessageBytes) : maxMessageBytes;
        // A router each: `rpc` takes options as well, but with them connect forgets that it serves no gRPC.
        const router = createConnectRouter({ ...options, readMaxBytes: mostBytes });
        if (served !== undefined) {
          router.rpc(method as DescMethodUnary, (message, context) => serve(served, message, context));
        } else if (streamed !== undefined) {
          const answers = (message: Message, context: HandlerContext) => stream(streamed, message, context);
          router.rpc(method as DescMethodServerStreaming, answers);
        }
        const isStream = streamed !== undefined;
        this.#routes.set(path, { method, access, mostBytes, isStream, handle: router.handlers.at(-1)! });
      }
    }
  }

  /** Undefined where no method of that path is served here. */
  at(path: string): Route | undefined {
    return this.#routes.get(path);
  }

  /** Whether it is a method that this port cannot carry. */
  isBidirectional(path: string): boolean {
    return this.#bidirectional.has(path);
  }
}
