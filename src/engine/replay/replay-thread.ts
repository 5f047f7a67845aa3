import { constants, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { connect } from "../../store/connection.ts";
import { connectRedis } from "../../stream/redis.ts";
import { type BookAnswer, type BookQuestion, BookReplay, TooOldError, UnderWayError } from "./book-replay.ts";

// The thread on which old stretches of the log are worked again. It answers one question at a time, in their order.

export interface ReplayThreadData {
  readonly redisUrl: string;
  readonly databaseUrl: string;
}

export interface ReplayQuestion {
  readonly id: number;
  readonly question: BookQuestion;
  readonly budgetMs: number;
}

/** Errors as they can be handed from thread to thread. */
export type ReplayAnswer = { readonly id: number } & (
  | { readonly answer: BookAnswer }
  | { readonly failure: "under way" | "too old" | "other"; readonly message: string }
);

/** As of the engine's own connections. */
const REDIS_TIMEOUT_MS = 5_000;

const { redisUrl, databaseUrl } = workerData as ReplayThreadData;
const redis = connectRedis(redisUrl, { name: "penstock-engine-replay", socketTimeoutMs: REDIS_TIMEOUT_MS });
const replay = new BookReplay(redis, connect(databaseUrl, { max: 1 }));

// On Linux this is the thread's own: whatever it does, the engine beside it comes first.
setPriority(constants.priority.PRIORITY_BELOW_NORMAL);

let last: Promise<void> = Promise.resolve();
parentPort!.on("message", (question: ReplayQuestion) => {
  last = last.then(async () => parentPort!.postMessage(await answered(question), []));
});

async function answered({ id, question, budgetMs }: ReplayQuestion): Promise<ReplayAnswer> {
  try {
    return { id, answer: await replay.book(question, budgetMs) };
  } catch (error) {
    const failure = error instanceof UnderWayError ? "under way" : error instanceof TooOldError ? "too old" : "other";
    return { id, failure, message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}
