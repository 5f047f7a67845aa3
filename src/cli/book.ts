import { once } from "node:events";

import { toJsonString } from "@bufbuild/protobuf";

import { BookSchema, MarketDataService, WatchBookResponseSchema } from "../gen/penstock/v1/market_data_service_pb.ts";
import type { Book, WatchBookResponse } from "../gen/penstock/v1/market_data_service_pb.ts";
import { TradingStatus } from "../gen/penstock/v1/order_pb.ts";
import { BookMirror } from "./book-mirror.ts";
import { ApiClient } from "./client.ts";
import { interruption } from "./interruption.ts";
import { resumed } from "./resume.ts";
import { apiOf } from "./stack-file.ts";
import { enumName } from "./table.ts";

export interface BookOptions {
  readonly url?: string;
  readonly token?: string;
  readonly depth: number;
  readonly follow?: true;
  readonly json?: true;
}

/** As often as eyes follow, and as a file is worth. */
const redrawMs = { terminal: 100, file: 1_000 };

/** Prints the best levels of a book; with `follow` again and again as it changes, until Ctrl-C. @throws CallError */
export async function book(symbol: string, options: BookOptions): Promise<void> {
  const api = new ApiClient(apiOf(options, "trader"));
  const { signal, release } = interruption();
  try {
    if (options.follow) return await follow(api, symbol, options, signal);
    const { book } = await api.call(MarketDataService.method.getBook, { symbol, depth: options.depth });
    if (book === undefined) throw new Error("the server gave no book");
    process.stdout.write(options.json ? `${toJsonString(BookSchema, book)}\n` : ladder(book, options.depth));
  } finally {
    release();
    api.close();
  }
}

async function follow(
  api: ApiClient,
  symbol: string,
  { depth, json }: BookOptions,
  signal: AbortSignal,
): Promise<void> {
  let mirror = new BookMirror();
  async function* open(): AsyncGenerator<WatchBookResponse, void> {
    mirror = new BookMirror();
    for await (const message of api.stream(MarketDataService.method.watchBook, { symbol }, signal)) {
      mirror.apply(message.update);
      yield message;
    }
  }
  const onCut = (error: Error): void =>
    void process.stderr.write(`penstock: a new snapshot follows: ${error.message}\n`);
  const screen = new Screen(process.stdout);
  try {
    for await (const message of resumed(open, { signal, onCut })) {
      if (!json) {
        if (mirror.book !== undefined) screen.show(ladder(mirror.book, depth));
      } else if (!process.stdout.write(`${toJsonString(WatchBookResponseSchema, message)}\n`)) {
        await once(process.stdout, "drain");
      }
    }
  } finally {
    screen.end();
  }
}

/** Shows the newest of what it is given: on a terminal in place of what was there, else one below the other. */
class Screen {
  readonly #output: NodeJS.WriteStream;
  #next: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(output: NodeJS.WriteStream) {
    this.#output = output;
  }

  show(text: string): void {
    this.#next = text;
    if (this.#timer !== undefined) return;
    this.#draw();
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        if (this.#next !== undefined) this.show(this.#next);
      },
      this.#output.isTTY ? redrawMs.terminal : redrawMs.file,
    );
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#draw();
  }

  #draw(): void {
    // A reader that is slow gets the next one.
    if (this.#next === undefined || this.#output.writableNeedDrain) return;
    this.#output.write(this.#output.isTTY ? `\u001b[H\u001b[J${this.#next}` : `${this.#next}\n`);
    this.#next = undefined;
  }
}

/** Asks above bids, each with the best price nearest to the middle. */
export function ladder({ symbol, tradingStatus, lastPrice, version, bids, asks }: Book, depth: number): string {
  const rows = [
    ["orders", "bid", "price", "ask", "orders"],
    ...asks
      .slice(0, depth)
      .map(({ price, quantity, orders }) => ["", "", price, quantity, String(orders)])
      .toReversed(),
    ...bids.slice(0, depth).map(({ price, quantity, orders }) => [String(orders), quantity, price, "", ""]),
  ];
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padStart(widths[column]!))
      .join("  ")
      .trimEnd(),
  );
  const last = lastPrice === "" ? "no trade yet" : `last ${lastPrice}`;
  return `${symbol}  ${enumName(TradingStatus, tradingStatus)}  ${last}  version ${version}\n${lines.join("\n")}\n`;
}
