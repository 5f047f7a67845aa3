import { readFileSync } from "node:fs";
import { join } from "node:path";

import * as v from "valibot";

import { loadAddress } from "../config/config.ts";
import { UsageError } from "../runtime/errors.ts";

const stackSchema = v.object({
  grpc: v.string(),
  http: v.string(),
  engine: v.nullish(v.string()),
  redis: v.string(),
  postgres: v.string(),
  token: v.string(),
  adminToken: v.string(),
});

/** Where the parts of a running stack are (URLs), and the tokens of a trader and of an admin. */
export type Stack = v.InferOutput<typeof stackSchema>;

/** What `penstock up` left in the state folder. @throws UsageError where no stack runs, or the file is another's. */
function readStack(env: NodeJS.ProcessEnv, instead: string): Stack {
  const path = join(env.PENSTOCK_STATE_DIR || ".penstock", "stack.json");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    throw new UsageError(`no stack runs here (there is no ${path}): start one with "penstock up", or give ${instead}`);
  }
  try {
    return v.parse(stackSchema, JSON.parse(text));
  } catch {
    throw new UsageError(`${path} is not the description of a stack`);
  }
}

/** The gRPC door and who asks: as given, else by environment, else those of the running stack. */
export function apiOf(
  given: { readonly url?: string; readonly token?: string },
  role: "trader" | "admin",
  env: NodeJS.ProcessEnv = process.env,
): { url: string; token: string } {
  const token = given.token ?? (env.PENSTOCK_TOKEN || undefined);
  if (given.url !== undefined && token !== undefined) return { url: given.url, token };
  const stack = readStack(env, "--url, and a token by PENSTOCK_TOKEN or --token");
  return { url: given.url ?? stack.grpc, token: token ?? (role === "admin" ? stack.adminToken : stack.token) };
}

/** The Redis that holds the log. */
export function redisOf(env: NodeJS.ProcessEnv = process.env): string {
  return env.REDIS_URL ? loadAddress("REDIS", env) : readStack(env, "its address by REDIS_URL").redis;
}

export function postgresOf(env: NodeJS.ProcessEnv = process.env): string {
  return env.DATABASE_URL ? loadAddress("DATABASE", env) : readStack(env, "its address by DATABASE_URL").postgres;
}
