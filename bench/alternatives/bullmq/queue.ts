import { Redis } from "ioredis";
import { required } from "../environment.ts";

/** The queue, and the name of its jobs: an order each. */
export const QUEUE = "orders";

/** A connection as BullMQ wants it: it waits for Redis and asks again by itself. */
export function connection(): Redis {
  return new Redis(required("REDIS_URL"), { maxRetriesPerRequest: null });
}
