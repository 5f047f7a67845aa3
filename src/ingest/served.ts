import type { DescService } from "@bufbuild/protobuf";
import type { Call, Implementation } from "./call.ts";

/** Who may call: `anyone` needs no token, `account` one of any role. */
export type Access = "anyone" | "account" | "admin";

/** A service with its one implementation, as every door takes it. */
export interface ServedService {
  readonly service: DescService;
  readonly access: Access;
  /** By the methods' names in the generated code. */
  readonly methods: Readonly<Record<string, (request: never, call: Call) => Promise<object>>>;
}

/** Every method of the service must be there, with its own types. */
export function serve<Service extends DescService>(
  service: Service,
  access: Access,
  methods: Implementation<Service>,
): ServedService {
  return { service, access, methods: methods };
}
