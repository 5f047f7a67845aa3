import { Redis } from "ioredis";
import { serveAlternative } from "../door.ts";
import { required } from "../environment.ts";
import { LIST } from "./list.ts";

// A Redis list with a batch writer behind it (worker.ts): an order is acknowledged when its RPUSH is on disk.

// Calls that come in one turn of the loop go to Redis in one write.
const redis = new Redis(required("REDIS_URL"), { enableAutoPipelining: true, maxRetriesPerRequest: 0 });

serveAlternative((orders) => redis.rpush(LIST, ...orders.map((order) => JSON.stringify(order))));
