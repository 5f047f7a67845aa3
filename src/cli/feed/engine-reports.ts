import type { ExecutionReport, Position } from "../../gen/penstock/v1/order_pb.ts";
import { compareEntries, parseEntryId, parseOrderId } from "../../stream/position.ts";
import type { EntryPosition } from "../../stream/position.ts";
import type { ApiClient } from "../client.ts";
import { Positions, watchOrders } from "../order-watch.ts";

/** An engine that is behind gets on in this time; and heartbeats, which tell how far it is, come every ten seconds. */
const STANDSTILL_MS = 60_000;

/**
 * The engine's reports of what is fed, from before the first command to behind the last one.
 *
 * Always true: `#reached` is how far all reports of each partition have come.
 */
export class EngineReports {
  readonly #onReport: (report: ExecutionReport) => void;
  readonly #end = new AbortController();
  #watch = new AbortController();
  readonly #reached = new Map<number, EntryPosition>();
  /** The last commands that were fed, by partition: the command's id names its place. */
  readonly #fed = new Map<number, EntryPosition>();
  readonly #done: Promise<void>;
  #failure: Error | undefined;
  #wake = (): void => undefined;

  private constructor(api: ApiClient, symbol: string, onReport: (report: ExecutionReport) => void) {
    this.#onReport = onReport;
    this.#done = this.#read(api, symbol);
  }

  /** Resolves when no report can be missed any more. @throws CallError where the server does not tell reports. */
  static async open(
    api: ApiClient,
    symbol: string,
    onReport: (report: ExecutionReport) => void,
  ): Promise<EngineReports> {
    const reports = new EngineReports(api, symbol, onReport);
    await reports.#until(() => reports.#reached.size > 0, "the server does not say where its reports begin");
    return reports;
  }

  /** Takes the id of a command that was fed. */
  fed(commandId: string): void {
    const place = parseOrderId(commandId);
    if (place === undefined) return;
    const last = this.#fed.get(place.partition);
    if (last === undefined || compareEntries(last, place) < 0) this.#fed.set(place.partition, place);
  }

  /**
   * Until all that was fed is reported. The watch is opened again first, behind what it told: it says at once how far it is, and
   * not only with its next heartbeat.
   * @throws Error where the engine stands still before.
   */
  async complete(): Promise<void> {
    this.#watch.abort();
    const isThere = ([partition, place]: readonly [number, EntryPosition]): boolean => {
      const reached = this.#reached.get(partition);
      return reached !== undefined && compareEntries(reached, place) >= 0;
    };
    await this.#until(() => [...this.#fed].every(isThere), "the engine does not get to the end of what was fed");
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#done;
  }

  async #read(api: ApiClient, symbol: string): Promise<void> {
    const positions = new Positions();
    try {
      while (!this.#end.signal.aborted) {
        this.#watch = new AbortController();
        const signal = AbortSignal.any([this.#end.signal, this.#watch.signal]);
        const options = { positions, symbol, allAccounts: false, signal, onCut: () => undefined };
        for await (const { update } of watchOrders(api, options)) {
          if (update.case === "execution") this.#onReport(update.value);
          else for (const position of update.value?.highWater ?? []) this.#reach(position);
          this.#wake();
        }
      }
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
      this.#wake();
    }
  }

  #reach({ partition, epoch, entryId }: Position): void {
    this.#reached.set(partition, { epoch, ...parseEntryId(entryId) });
  }

  /** Waits for the reader, as long as it gets anywhere. */
  async #until(isDone: () => boolean, otherwise: string): Promise<void> {
    let far = "";
    let since = performance.now();
    while (!isDone()) {
      if (this.#failure !== undefined) throw this.#failure;
      const here = JSON.stringify([...this.#reached]);
      if (here !== far) since = performance.now();
      far = here;
      const left = since + STANDSTILL_MS - performance.now();
      if (left <= 0) throw new Error(`${otherwise} within ${STANDSTILL_MS / 1_000} s: does it run?`);
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, left);
      this.#wake = resolve;
      await promise;
      clearTimeout(timer);
    }
  }
}
