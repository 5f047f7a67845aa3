import { Redis } from "ioredis";

/**
 * How the log's connections behave, and why:
 *
 * - Nothing is ever sent twice by the driver (`maxRetriesPerRequest: 0`): after a reconnect ioredis would send commands
 *   in flight again, and one XADD became two entries. A command on a lost connection rejects at once; whether it is sent
 *   again is decided here, where it is known to be safe.
 * - A server that goes silent without closing is noticed: `socketTimeout` cuts the connection where an answer is that late.
 * - A server that reads its file back is asked again and again: the time that it says it needs is a guess of its first moments, and the
 *   driver would stay away for so long, from one second to ten. What waits for it meanwhile is refused after as long as an answer may
 *   take; but not at first, since a process may start beside a server that does.
 * - No autopipelining: a command behind a blocking read waits for it.
 */
export interface RedisOptions {
  /** Shown by CLIENT LIST. */
  readonly name: string;
  /** An answer later than this is a lost connection. Above BLOCK for a connection that reads with it. */
  readonly socketTimeoutMs: number;
  /** Told of each connection error; the driver goes on trying. */
  readonly onError?: (error: Error) => void;
}

const CONNECT_TIMEOUT_MS = 2_000; // a server on the same network answers in a few
const MAX_RECONNECT_DELAY_MS = 1_000; // a restarted server should be found within about a second
const LOADING_POLL_MS = 200; // and one that has read back its file in the same time

/** The server's clock, ms since 1970. */
export async function readClock(redis: Redis): Promise<number> {
  const [seconds, microseconds] = await redis.time();
  return Number(seconds) * 1_000 + Math.floor(Number(microseconds) / 1_000);
}

/**
 * The server's clock or ours, the one that is behind, ms since 1970: for what must not seem older than it is because one of them
 * has jumped ahead.
 */
export async function earlierClock(redis: Redis): Promise<number> {
  return Math.min(await readClock(redis), Date.now());
}

export function connectRedis(url: string, options: RedisOptions): Redis {
  const redis = new Redis(url, {
    connectionName: options.name,
    protocol: 2, // stream replies as arrays; version 3 would only be mapped back to them
    maxRetriesPerRequest: 0,
    enableAutoPipelining: false,
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: options.socketTimeoutMs,
    maxLoadingRetryTime: LOADING_POLL_MS,
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 5), MAX_RECONNECT_DELAY_MS),
    // A master that was demoted answers READONLY: connect again (to the new one), without sending again.
    reconnectOnError: (error) => (error.message.startsWith("READONLY") ? 1 : false),
    disableClientInfo: true,
  });
  redis.on("error", (error: Error) => options.onError?.(error));
  redis.once("ready", () => refuseWhileLoading(redis, options.socketTimeoutMs));
  return redis;
}

/** The driver keeps commands until the server has read back its file, and the answers to its questions keep the socket alive. */
function refuseWhileLoading(redis: Redis, timeoutMs: number): void {
  let timer: NodeJS.Timeout | undefined;
  redis.on("connect", () => (timer = setTimeout(() => redis.disconnect(true), timeoutMs)));
  for (const event of ["ready", "close"]) redis.on(event, () => clearTimeout(timer));
}
