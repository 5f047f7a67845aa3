import type { Http2Server, ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import { type ConnectionInjector, type Server, ServerCredentials } from "@grpc/grpc-js";

/** Hands connections on to grpc-js, and tells what it has made of them. */
export class GrpcInjector {
  readonly #injector: ConnectionInjector;
  /** Of the last connection. */
  #session: ServerHttp2Session | undefined;

  constructor(server: Server) {
    this.#injector = server.createConnectionInjector(ServerCredentials.createInsecure());
    // Private in grpc-js, which tells nobody of its sessions: grpc-listener.test.ts sees that it is there.
    const { http2Servers } = server as unknown as { readonly http2Servers: ReadonlyMap<Http2Server, unknown> };
    for (const http2 of http2Servers.keys()) http2.on("session", (session) => (this.#session = session));
  }

  inject(socket: Socket): ServerHttp2Session {
    this.#injector.injectConnection(socket);
    return this.#session!; // it is made at once
  }
}
