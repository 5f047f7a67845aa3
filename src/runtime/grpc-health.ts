import {
  type sendUnaryData,
  type Server,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
} from "@grpc/grpc-js";
import { service as definition } from "grpc-health-check";

interface Asked {
  readonly service: string;
}
interface Told {
  readonly status: "SERVING" | "NOT_SERVING" | "SERVICE_UNKNOWN";
}
type Watch = ServerWritableStream<Asked, Told>;

/**
 * grpc.health.v1 of a server whose services are there from its start to its end. (The implementation that comes with the
 * definition keeps every name that was ever watched, and anyone may watch any.)
 *
 * Always true: `#watches` holds those of our services that have not ended; a name that is not ours is kept nowhere.
 */
export class GrpcHealth {
  readonly #names: ReadonlySet<string>;
  readonly #watches = new Set<Watch>();
  #told: Told = { status: "SERVING" };

  constructor(services: readonly string[]) {
    // The empty name is the server's as a whole.
    this.#names = new Set(["", ...services]);
  }

  addTo(server: Server): void {
    server.addService(definition, {
      check: ({ request }: ServerUnaryCall<Asked, Told>, callback: sendUnaryData<Told>) => {
        if (this.#names.has(request.service)) callback(null, this.#told);
        else callback({ code: status.NOT_FOUND, details: "no such service" });
      },
      watch: (call: Watch) => this.#watch(call),
      list: (_: unknown, callback: sendUnaryData<{ readonly statuses: Readonly<Record<string, Told>> }>) =>
        callback(null, { statuses: Object.fromEntries([...this.#names].map((name) => [name, this.#told])) }),
    });
  }

  /** Tells whoever watches that nothing is served any more. */
  stop(): void {
    this.#told = { status: "NOT_SERVING" };
    for (const call of this.#watches) call.write(this.#told);
  }

  #watch(call: Watch): void {
    // Such a stream stays open, as the protocol has it: its client would only come again.
    if (!this.#names.has(call.request.service)) return void call.write({ status: "SERVICE_UNKNOWN" });
    this.#watches.add(call);
    // Comes at the end of every call.
    call.once("cancelled", () => this.#watches.delete(call));
    call.write(this.#told);
  }
}
