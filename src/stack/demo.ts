import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { status } from "@grpc/grpc-js";
import { ApiClient, CallError } from "../cli/client.ts";
import { AdminService, Role } from "../gen/penstock/v1/admin_service_pb.ts";
import { AuthService } from "../gen/penstock/v1/auth_service_pb.ts";

/** Where the running stack is, and what its first admin logs in with. */
export interface DemoTarget {
  /** URL of the gRPC door. */
  readonly grpc: string;
  /** The secret of the account "admin". */
  readonly adminSecret: string;
  /** Keeps the name and the secret of the demo trader, which is made at the first start. */
  readonly traderFile: string;
}

/** Tokens of the demo trader and of the admin. */
export interface DemoTokens {
  readonly token: string;
  readonly adminToken: string;
}

interface Trader {
  readonly account: string;
  readonly secret: string;
}

/** Prices and quantities of the usual venues, and no price band, so that any example works. */
const INSTRUMENTS = [
  { symbol: "BTC-USD", tickSize: "0.01", lotSize: "0.00000001" },
  { symbol: "ETH-USD", tickSize: "0.01", lotSize: "0.0000001" },
  { symbol: "ACME", tickSize: "0.05", lotSize: "1" },
] as const;

/**
 * Makes what a first order needs, where it is not there yet: the demo trader's account and the demo instruments. Called at
 * every start, when all roles are ready. Resolves with what logs both accounts in, as often as they need new tokens.
 */
export async function prepareDemo({ grpc, adminSecret, traderFile }: DemoTarget): Promise<() => Promise<DemoTokens>> {
  const logInAdmin = () => logIn(grpc, { account: "admin", secret: adminSecret });
  const admin = new ApiClient({ url: grpc, token: await logInAdmin() });
  try {
    for (const instrument of INSTRUMENTS) {
      // ABORTED: version 0 is not the present one, so it is defined already.
      await unless(status.ABORTED, admin.call(AdminService.method.upsertInstrument, { instrument }));
    }
    const trader = await demoTrader(admin, traderFile);
    return async () => ({ adminToken: await logInAdmin(), token: await logIn(grpc, trader) });
  } finally {
    admin.close();
  }
}

async function demoTrader(admin: ApiClient, file: string): Promise<Trader> {
  if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")) as Trader;
  // A database that was used from another state folder has a "demo" already, with a secret that is not here.
  const trader =
    (await createTrader(admin, "demo")) ?? (await createTrader(admin, `demo-${randomBytes(3).toString("hex")}`));
  if (trader === undefined) throw new Error("no demo account could be made");
  writeFileSync(file, JSON.stringify(trader), { mode: 0o600 });
  return trader;
}

async function createTrader(admin: ApiClient, account: string): Promise<Trader | undefined> {
  const { method } = AdminService;
  return await unless(status.ALREADY_EXISTS, admin.call(method.createAccount, { account, role: Role.TRADER }));
}

async function logIn(url: string, credentials: Trader): Promise<string> {
  const client = new ApiClient({ url, token: "" });
  try {
    return (await client.call(AuthService.method.issueToken, credentials)).token;
  } finally {
    client.close();
  }
}

/** The answer of a call, or undefined where it was refused with this code. */
async function unless<T>(code: number, call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof CallError && error.code === code) return undefined;
    throw error;
  }
}
