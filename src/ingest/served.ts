import type { DescService } from "@bufbuild/protobuf";
import type { Call, Implementation } from "./call.ts";

/** Who may call: `anyone` needs no token; `read` and `trade` are for an account's own orders, `admin` for the role admin. */
export type Access = "anyone" | "read" | "trade" | "admin";

/** A method with its one implementation, as every door takes it. */
export interface ServedMethod {
  readonly access: Access;
  readonly serve: (request: never, call: Call) => Promise<object>;
}

/** A service with its methods, by their names in the generated code. */
export interface ServedService {
  readonly service: DescService;
  readonly methods: Readonly<Record<string, ServedMethod>>;
}

/** Every method of the service must be there, with its own types and with who may call it. */
export function serve<Service extends DescService>(
  service: Service,
  methods: {
    readonly [Name in keyof Implementation<Service>]: readonly [access: Access, serve: Implementation<Service>[Name]];
  },
): ServedService {
  const entries = Object.entries<readonly [Access, ServedMethod["serve"]]>(methods);
  return { service, methods: Object.fromEntries(entries.map(([name, [access, serve]]) => [name, { access, serve }])) };
}
