import type { Book, PriceLevel, WatchBookResponse } from "../../../src/gen/penstock/v1/market_data_service_pb.ts";
import { crc32 } from "./crc32.ts";
import { compareDecimals } from "./decimal.ts";

/** Levels of each side that the checksum covers. */
const CHECKED_LEVELS = 10;

/** The book is not the server's any more: another snapshot is needed. */
export class BookLost extends Error {
  override readonly name = "BookLost";
}

/**
 * A book as WatchBook tells it: a snapshot, then every change of it.
 *
 * Always true after `apply`: the version and the checksum are those that the server told; both sides are sorted, best first.
 */
export class BookMirror {
  #book: Book | undefined;

  /** Undefined before the first snapshot. It changes in place. */
  get book(): Book | undefined {
    return this.#book;
  }

  /** @throws BookLost */
  apply(update: WatchBookResponse["update"]): void {
    if (update.case === "snapshot") this.#book = update.value;
    const book = this.#book;
    if (update.case === undefined || book === undefined) return;
    const { version, checksum } = update.value;
    if (update.case === "increment") {
      if (version !== book.version + 1n) throw new BookLost(`version ${version} came after ${book.version}`);
      book.version = version;
      for (const level of update.value.bids) setLevel(book.bids, level, -1);
      for (const level of update.value.asks) setLevel(book.asks, level, 1);
    }
    if (version !== book.version) throw new BookLost(`version ${version} was told while ${book.version} is here`);
    book.checksum = checksumOf(book);
    if (checksum !== book.checksum) throw new BookLost(`version ${version} has another checksum here`);
  }
}

/** As `Book.checksum` in the protos says. */
export function checksumOf({ bids, asks }: Pick<Book, "bids" | "asks">): number {
  return crc32(checkedText(bids) + checkedText(asks));
}

function checkedText(levels: readonly PriceLevel[]): string {
  let text = "";
  const end = Math.min(levels.length, CHECKED_LEVELS);
  for (let at = 0; at < end; at++) {
    const { price, quantity, orders } = levels[at]!;
    text += `${price}:${quantity}:${orders}|`;
  }
  return text;
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
