import { create } from "@bufbuild/protobuf";
import { signal } from "@preact/signals";
import { Subscription, type WatchRequest, type WatchResponse } from "../../../src/gen/penstock/v1/live_service_pb.ts";
import { type Book, WatchBookRequestSchema } from "../../../src/gen/penstock/v1/market_data_service_pb.ts";
import type { Failure } from "../api/failure.ts";
import { BookMirror } from "./book-mirror.ts";
import { Frames } from "./frames.ts";
import type { Topic } from "./live.ts";

/** The book of a symbol, live. What it shows while it is interrupted is what was last seen. */
export class BookTopic implements Topic {
  readonly subscription = Subscription.BOOK;
  readonly symbol: string;
  readonly frames = new Frames();
  /** Why no book comes at present; undefined where one does. */
  readonly trouble = signal<string | undefined>(undefined);
  readonly #mirror = new BookMirror();

  constructor(symbol: string) {
    this.symbol = symbol;
  }

  get book(): Book | undefined {
    return this.#mirror.book;
  }

  ask(request: WatchRequest): void {
    request.books.push(create(WatchBookRequestSchema, { symbol: this.symbol }));
  }

  take(update: WatchResponse["update"]): void {
    if (update.case !== "book") return;
    this.#mirror.apply(update.value.update);
    if (this.trouble.peek() !== undefined) this.trouble.value = undefined;
    this.frames.touch();
  }

  interrupted({ message }: Failure): void {
    this.trouble.value = message;
  }
}
