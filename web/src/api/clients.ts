import { type Client, type Transport, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { AdminService } from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import { AuthService } from "../../../src/gen/penstock/v1/auth_service_pb.ts";
import { LiveService } from "../../../src/gen/penstock/v1/live_service_pb.ts";
import { MarketDataService } from "../../../src/gen/penstock/v1/market_data_service_pb.ts";
import { OrderService } from "../../../src/gen/penstock/v1/order_service_pb.ts";

/** The server gives a call at most 10 s by default; beyond that nobody answers any more. */
const TIMEOUT_MS = 12_000;

/** The services as the page calls them. What authorises is the session's cookie, which no script sees. */
export interface Clients {
  readonly auth: Client<typeof AuthService>;
  readonly orders: Client<typeof OrderService>;
  readonly market: Client<typeof MarketDataService>;
  readonly admin: Client<typeof AdminService>;
  readonly live: Client<typeof LiveService>;
}

export function clientsOf(transport: Transport): Clients {
  return {
    auth: createClient(AuthService, transport),
    orders: createClient(OrderService, transport),
    market: createClient(MarketDataService, transport),
    admin: createClient(AdminService, transport),
    live: createClient(LiveService, transport),
  };
}

/** Of the server that the page came from. */
export function ownTransport(): Transport {
  return createConnectTransport({ baseUrl: location.origin, useBinaryFormat: true, defaultTimeoutMs: TIMEOUT_MS });
}
