import { crc32 } from "node:zlib";

import type { Book, PriceLevel, WatchBookResponse } from "../gen/penstock/v1/market_data_service_pb.ts";
import { CallError } from "./client.ts";
import { GAP } from "./resume.ts";

/** Levels of each side that the checksum covers. */
const CHECKED_LEVELS = 10;

/**
 * A book as WatchBook tells it: a snapshot, then every change of it.
 *
 * Always true after `apply`: the version and the checksum are those that the server told; both sides are sorted, best first.
 */
export class BookMirror {
  #book: Book | undefined;

  /** Undefined before the first snapshot. */
  get book(): Book | undefined {
    return this.#book;
  }

  /** @throws CallError (GAP) where the book is not the server's any more: another snapshot is needed. */
  apply(update: WatchBookResponse["update"]): void {
    if (update.case === "snapshot") this.#book = update.value;
    const book = this.#book;
    if (update.case === undefined || book === undefined) return;
    const { version, checksum } = update.value;
    if (update.case === "increment") {
      if (version !== book.version + 1n) throw lost(`version ${version} came after ${book.version}`);
      book.version = version;
      for (const level of update.value.bids) setLevel(book.bids, level, -1);
      for (const level of update.value.asks) setLevel(book.asks, level, 1);
    }
    if (version !== book.version) throw lost(`version ${version} was told while ${book.version} is here`);
    book.checksum = checksumOf(book);
    if (checksum !== book.checksum) throw lost(`the checksum of version ${version} is not that of the book here`);
  }
}

function lost(details: string): CallError {
  return new CallError(GAP, details, []);
}

/** As `Book.checksum` in the protos says. */
export function checksumOf({ bids, asks }: Pick<Book, "bids" | "asks">): number {
  const levels = [...bids.slice(0, CHECKED_LEVELS), ...asks.slice(0, CHECKED_LEVELS)];
  return crc32(levels.map(({ price, quantity, orders }) => `${price}:${quantity}:${orders}|`).join(""));
}

/** `direction`: 1 where the lowest price is the best, -1 where the highest is. */
function setLevel(levels: PriceLevel[], level: PriceLevel, direction: 1 | -1): void {
  let from = 0;
  let to = levels.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (compareDecimals(levels[middle]!.price, level.price) * direction < 0) from = middle + 1;
    else to = middle;
  }
  const isThere = levels[from]?.price === level.price;
  if (level.quantity === "0") levels.splice(from, isThere ? 1 : 0);
  else levels.splice(from, isThere ? 1 : 0, level);
}

/** Of decimals without sign or needless zeros in front; exact, however long they are. */
export function compareDecimals(a: string, b: string): number {
  const [wholeA = "", fractionA = ""] = a.split(".");
  const [wholeB = "", fractionB = ""] = b.split(".");
  if (wholeA.length !== wholeB.length) return wholeA.length - wholeB.length;
  const digits = Math.max(fractionA.length, fractionB.length);
  const textA = wholeA + fractionA.padEnd(digits, "0");
  const textB = wholeB + fractionB.padEnd(digits, "0");
  return textA < textB ? -1 : Number(textA > textB);
}
