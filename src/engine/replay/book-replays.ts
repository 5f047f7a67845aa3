import { Worker } from "node:worker_threads";
import type { Logger } from "pino";
import type { Service } from "../../runtime/service.ts";
import { EngineUnavailableError } from "../engine-run.ts";
import { type BookAnswer, type BookQuestion, TooOldError, UnderWayError } from "./book-replay.ts";
import type { ReplayAnswer, ReplayQuestion, ReplayThreadData } from "./replay-thread.ts";

/** Too many ask at once. */
export class ReplaysBusyError extends Error {
  override readonly name = "ReplaysBusyError";
}

/** A question is answered, or said to be under way, within this: whoever waits behind it waits no longer either. */
const BUDGET_MS = 1_000;
/** Of those who wait; the last of them waits for as many seconds. */
const MAX_WAITING = 4;
/** What is not answered by then hangs: Redis or Postgres would have been given up before. */
const HUNG_MS = 30_000;
/** Its engines take as much memory as the ones that match: it ends when nobody has asked for so long. */
const IDLE_MS = 120_000;
/** Beside what the engines' own buffers take. */
const HEAP_MB = 512;

interface Asked {
  readonly resolve: (answer: BookAnswer) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Books as they were, by a thread beside the engines of this process, which starts when it is asked for something.
 *
 * Always true: whatever happens to the thread, each question is answered or rejected, and the next one finds another thread.
 */
export class BookReplays implements Service {
  readonly name = "replays";
  readonly #data: ReplayThreadData;
  readonly #log: Logger;
  readonly #asked = new Map<number, Asked>();
  #worker: Worker | undefined;
  #timer: NodeJS.Timeout | undefined;
  #count = 0;
  #isOver = false;

  constructor(data: ReplayThreadData, log: Logger) {
    this.#data = data;
    this.#log = log;
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#end("the engine stops");
  }

  /** Rejects with an UnderWayError, a TooOldError, a ReplaysBusyError or an EngineUnavailableError. */
  async book(question: BookQuestion): Promise<BookAnswer> {
    if (this.#isOver) throw new EngineUnavailableError("the engine stops");
    if (this.#asked.size >= MAX_WAITING) throw new ReplaysBusyError("too many replays at once");
    const id = this.#count++;
    const { promise, resolve, reject } = Promise.withResolvers<BookAnswer>();
    this.#asked.set(id, { resolve, reject });
    this.#wait(HUNG_MS, "it hangs");
    this.#worker ??= this.#open();
    const asked: ReplayQuestion = { id, question, budgetMs: BUDGET_MS };
    this.#worker.postMessage(asked, []);
    return promise;
  }

  #open(): Worker {
    const worker = new Worker(new URL("./replay-thread.ts", import.meta.url), {
      workerData: this.#data,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
    });
    worker.on("message", (answer: ReplayAnswer) => this.#take(answer));
    worker.on("error", (error) => this.#log.error({ err: error }, "a replay failed"));
    worker.on("exit", () => {
      if (this.#worker === worker) void this.#end("it ended");
    });
    return worker;
  }

  #take(answer: ReplayAnswer): void {
    const asked = this.#asked.get(answer.id);
    this.#asked.delete(answer.id);
    this.#wait(this.#asked.size === 0 ? IDLE_MS : HUNG_MS, "it is not needed");
    if ("answer" in answer) return asked?.resolve(answer.answer);
    const { failure, message } = answer;
    if (failure === "under way") return asked?.reject(new UnderWayError("the replay is under way"));
    if (failure === "too old") {
      return asked?.reject(new TooOldError("log and journal no longer reach back to that place"));
    }
    this.#log.warn({ cause: message }, "a replay failed");
    asked?.reject(new EngineUnavailableError("the replay failed"));
  }

  #wait(ms: number, why: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#end(why), ms).unref();
  }

  async #end(why: string): Promise<void> {
    clearTimeout(this.#timer);
    const worker = this.#worker;
    this.#worker = undefined;
    for (const { reject } of this.#asked.values()) reject(new EngineUnavailableError(`no replay: ${why}`));
    this.#asked.clear();
    await worker?.terminate();
  }
}
