import type { DescService } from "@bufbuild/protobuf";
import type { Call, Feed, Implementation, Inlet, Outlet } from "./call.ts";

/** Who may call: `anyone` needs no token; `read` and `trade` are for an account's own orders, `admin` for the role admin. */
export type Access = "anyone" | "read" | "trade" | "admin";

/** A method with its one implementation, as every door takes it. */
export interface ServedMethod {
  readonly access: Access;
  readonly serve: (request: never, call: Call) => Promise<object>;
}

/** A method that is a stream, for doors that can carry it: both ways, or with one request. */
export interface ServedStream {
  readonly access: Access;
  readonly open: (call: Call, outlet: Outlet<never>) => Inlet<never>;
}

/** A method that answers one request with a stream. `Watches` makes a stream of it. */
export interface ServedWatch {
  readonly access: Access;
  readonly watch: (request: never, call: Call, feed: Feed) => Promise<void>;
}

/** A service with its methods, by their names in the generated code. */
export interface ServedService {
  readonly service: DescService;
  readonly methods: Readonly<Record<string, ServedMethod>>;
  readonly streams: Readonly<Record<string, ServedStream>>;
  readonly watches: Readonly<Record<string, ServedWatch>>;
}

/** Every method of the service must be there, with its own types and with who may call it. */
export function serve<Service extends DescService>(
  service: Service,
  implementation: {
    readonly [Name in keyof Implementation<Service>]: readonly [access: Access, serve: Implementation<Service>[Name]];
  },
): ServedService {
  const methods: Record<string, ServedMethod> = {};
  const streams: Record<string, ServedStream> = {};
  const watches: Record<string, ServedWatch> = {};
  for (const { localName, methodKind } of service.methods) {
    const [access, work] = implementation[localName as keyof typeof implementation] as readonly [Access, unknown];
    if (methodKind === "unary") methods[localName] = { access, serve: work as ServedMethod["serve"] };
    else if (methodKind === "server_streaming") watches[localName] = { access, watch: work as ServedWatch["watch"] };
    else streams[localName] = { access, open: work as ServedStream["open"] };
  }
  return { service, methods, streams, watches };
}
