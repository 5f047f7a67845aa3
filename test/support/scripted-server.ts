import type { TestContext } from "node:test";

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type {
  MethodDefinition,
  ServerDuplexStream,
  ServerWritableStream,
  ServiceDefinition,
  UntypedHandleCall,
} from "@grpc/grpc-js";

/** A stream both ways as the server of a test has it: what it writes are answers in their short form. */
export type Duplex<I extends DescMessage, O extends DescMessage> = ServerDuplexStream<
  MessageShape<I>,
  MessageInitShape<O>
>;
/** The same of a stream of answers to one request. */
export type Answers<I extends DescMessage, O extends DescMessage> = ServerWritableStream<
  MessageShape<I>,
  MessageInitShape<O>
>;

type Fields = Record<string, unknown>;

/** Serves methods of the protos as a test says; the others are UNIMPLEMENTED. Ends with the test. Returns its URL. */
export async function startScriptedServer(
  t: TestContext,
  ...services: readonly {
    readonly service: DescService;
    readonly methods: Readonly<Record<string, UntypedHandleCall>>;
  }[]
): Promise<string> {
  const server = new Server();
  for (const { service, methods } of services) server.addService(definitionOf(service), methods);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
    if (error === null) resolve(port);
    else reject(error);
  });
  t.after(() => server.forceShutdown());
  return `http://127.0.0.1:${await promise}`;
}

function definitionOf(service: DescService): ServiceDefinition {
  const methods = service.methods.map(
    ({ name, localName, input, output, methodKind }): [string, MethodDefinition<Fields, Fields>] => [
      localName,
      {
        path: `/${service.typeName}/${name}`,
        requestStream: methodKind === "bidi_streaming",
        responseStream: methodKind !== "unary",
        requestSerialize: (request) => Buffer.from(toBinary(input, create(input, request))),
        requestDeserialize: (bytes) => fromBinary(input, bytes),
        responseSerialize: (answer) => Buffer.from(toBinary(output, create(output, answer))),
        responseDeserialize: (bytes) => fromBinary(output, bytes),
      },
    ],
  );
  return Object.fromEntries(methods);
}
