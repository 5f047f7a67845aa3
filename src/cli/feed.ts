import { MarketDataService } from "../gen/penstock/v1/market_data_service_pb.ts";
import { exitCodes, UsageError } from "../runtime/errors.ts";
import { ApiClient } from "./client.ts";
import { Comparison } from "./feed/comparison.ts";
import type { Compared } from "./feed/comparison.ts";
import { EngineReports } from "./feed/engine-reports.ts";
import { detectFormat, parserOf } from "./feed/format.ts";
import type { Format } from "./feed/format.ts";
import { OrderFlow } from "./feed/order-flow.ts";
import type { Outcome } from "./feed/order-flow.ts";
import { Pace } from "./feed/pace.ts";
import { Progress } from "./feed/progress.ts";
import { Recording } from "./feed/recording.ts";
import { comparedText } from "./feed/report.ts";
import type { Parser, Send, Step } from "./feed/step.ts";
import { Tally } from "./feed/tally.ts";
import { interruption } from "./interruption.ts";
import { apiOf } from "./stack-file.ts";

export interface FeedOptions {
  readonly url?: string;
  readonly token?: string;
  readonly format?: Format;
  readonly symbol?: string;
  /** A factor of the recorded one; undefined: as fast as it goes. */
  readonly speed?: number;
  readonly run?: string;
  readonly executions?: true;
  readonly compare?: true;
  readonly json?: true;
}

/** Digits of the file's hash that are the run where none is given: two files have the same once in 10^12. */
const RUN_DIGITS = 10;

/**
 * Sends a file of recorded order flow through StreamOrders, and prints a summary. Returns the exit code: 1 where a line could not be
 * read or was refused, or where Ctrl-C ended it early.
 * @throws UsageError where file, format or symbol make no sense; CallError where the server is away for too long.
 */
export async function feed(path: string, options: FeedOptions): Promise<number> {
  const recording = await Recording.open(path);
  const api = new ApiClient(apiOf(options, "trader"));
  const { signal, release } = interruption();
  try {
    await checkSymbol(api, options.symbol);
    const run = options.run ?? (await recording.hash()).slice(0, RUN_DIGITS);
    return await new Feed(api, recording, { ...options, run, isRunGiven: options.run !== undefined }, signal).run();
  } finally {
    release();
    api.close();
  }
}

/** Tells early what each command would be refused for, and whether the server is there at all. */
async function checkSymbol(api: ApiClient, symbol: string | undefined): Promise<void> {
  const { instruments } = await api.call(MarketDataService.method.listInstruments, {});
  if (symbol === undefined || instruments.some((instrument) => instrument.symbol === symbol)) return;
  throw new UsageError(`there is no instrument ${symbol}: an admin makes one with "penstock instruments define"`);
}

interface FileOptions extends FeedOptions {
  readonly run: string;
  readonly isRunGiven: boolean;
}

/** One file on its way. */
class Feed {
  readonly #api: ApiClient;
  readonly #recording: Recording;
  readonly #options: FileOptions;
  readonly #signal: AbortSignal;
  readonly #tally = new Tally((line) => this.#progress.say(`penstock: ${line}`));
  readonly #progress: Progress;
  readonly #flow: OrderFlow;
  readonly #pace: Pace | undefined;
  #comparison: Comparison | undefined;
  #reports: EngineReports | undefined;

  constructor(api: ApiClient, recording: Recording, options: FileOptions, signal: AbortSignal) {
    this.#api = api;
    this.#recording = recording;
    this.#options = options;
    this.#signal = signal;
    this.#flow = new OrderFlow(api, (send, outcome) => this.#settled(send, outcome));
    this.#pace = options.speed === undefined ? undefined : new Pace(options.speed, signal);
    this.#progress = new Progress(process.stderr, () => ({
      share: recording.size === 0 ? 1 : recording.bytesRead / recording.size,
      sent: this.#tally.commands,
    }));
  }

  async run(): Promise<number> {
    const since = performance.now();
    let seconds = 0;
    try {
      await this.#send().finally(() => (seconds = (performance.now() - since) / 1_000));
      await this.#reports?.complete();
      this.#print(seconds, this.#comparison?.result());
    } catch (error) {
      // What was sent is sent, whatever ended it.
      if (!(error instanceof UsageError)) this.#print(seconds);
      throw error;
    } finally {
      this.#progress.end();
      this.#flow.close();
      await this.#reports?.close();
    }
    const isWhole = this.#tally.refused === 0 && this.#tally.faults === 0 && !this.#signal.aborted;
    return isWhole ? exitCodes.ok : exitCodes.failed;
  }

  #print(seconds: number, compared?: Compared): void {
    this.#progress.end();
    const { resent, unsettled } = this.#flow;
    if (this.#options.json) {
      const summary = { run: this.#options.run, ...this.#tally.json(), resent, unsettled, seconds, compared };
      process.stdout.write(`${JSON.stringify(summary)}\n`);
      return;
    }
    const text = this.#tally.text(seconds, { resent, unsettled });
    process.stdout.write(compared === undefined ? `${text}\n` : `${text}\n\n${comparedText(compared)}\n`);
  }

  /** Until all of the file is settled, or what was sent of it by Ctrl-C. */
  async #send(): Promise<void> {
    let parser: Parser | undefined;
    let line = 0;
    for await (const lines of this.#recording.lines()) {
      parser ??= await this.#begin(lines.find((text) => text.trim() !== ""));
      for (const text of lines) {
        line++;
        for (const step of parser?.read(text, line) ?? []) await this.#take(step);
        if (this.#signal.aborted) return await this.#flow.finish();
      }
    }
    for (const step of parser?.end() ?? []) await this.#take(step);
    await this.#flow.finish();
  }

  /** Undefined while there are empty lines only. */
  async #begin(first: string | undefined): Promise<Parser | undefined> {
    if (first === undefined) return undefined;
    const { format = detectFormat(first), symbol, run, isRunGiven, executions = false, compare } = this.#options;
    if (format === undefined) throw new UsageError("the file does not show its format: give --format");
    if (format !== "ndjson" && symbol === undefined)
      throw new UsageError(`a ${format} file names no symbol: give --symbol`);
    const parser = parserOf(format, { run, isRunGiven, symbol: symbol ?? "", executions });
    if (!compare) return parser;
    if (parser.unit === undefined)
      throw new UsageError(`a ${format} file does not say what was filled: nothing to compare`);
    const comparison = new Comparison(parser.unit, format !== "lobster" || executions);
    this.#comparison = comparison;
    this.#reports = await EngineReports.open(this.#api, symbol ?? "", (report) => comparison.report(report));
    return parser;
  }

  async #take(step: Step): Promise<void> {
    switch (step.kind) {
      case "send":
        this.#comparison?.recorded(step);
        await this.#pace?.until(step.at);
        if (!this.#signal.aborted) await this.#flow.send(step);
        return;
      case "fill":
        this.#comparison?.recorded(step);
        return;
      case "skip":
        this.#tally.skip(step.why);
        return;
      case "fault":
        this.#tally.fault(step.line, step.message);
        return;
      default: {
        const never: never = step;
        return never;
      }
    }
  }

  #settled(send: Send, outcome: Outcome): void {
    this.#tally.settled(send, outcome);
    if (this.#comparison === undefined) return;
    const { command } = send;
    if (outcome.case === "refused") {
      if (command.case === "submit") this.#comparison.refused(command.value.clientOrderId);
    } else if (outcome.case === "submit") {
      this.#reports?.fed(outcome.value.orderId);
      if (outcome.value.duplicate) this.#comparison.forget(outcome.value.clientOrderId);
    } else if (outcome.case === "cancelAll") {
      for (const id of outcome.value.commandIds) this.#reports?.fed(id);
    } else this.#reports?.fed(outcome.value.commandId);
  }
}
