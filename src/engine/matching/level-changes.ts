import { type Book, bookOfLadder, sideOfLadder } from "./book.ts";
import type { LevelChange, LevelChangeList } from "./interface.ts";
import type { Ladder, TouchedLevels } from "./ladder.ts";
import type { Levels } from "./levels.ts";

/**
 * The levels that an entry has touched. They are read where they are, so they are right once the entry is over, and
 * until the next one begins.
 */
export class LevelChanges implements LevelChangeList, TouchedLevels {
  readonly #levels: Levels;
  readonly #books: readonly Book[];
  readonly #touched: number[] = [];
  readonly #emptied: Ladder[] = [];
  readonly #view: View;

  constructor(levels: Levels, books: readonly Book[]) {
    this.#levels = levels;
    this.#books = books;
    this.#view = new View(levels, books);
  }

  get count(): number {
    return this.#touched.length;
  }

  at(position: number): LevelChange {
    if (position >= this.#touched.length) throw new RangeError(`there is no level change ${position}`);
    this.#view.level = this.#touched[position]!;
    return this.#view;
  }

  copy(): LevelChange[] {
    return this.#touched.map((_, i) => {
      const { symbol, version, side, price, quantityHigh, quantityLow, orders } = this.at(i);
      return { symbol, version, side, price, quantityHigh, quantityLow, orders };
    });
  }

  add(level: number): void {
    this.#levels.touched[level] = 1;
    this.#touched.push(level);
  }

  emptied(ladder: Ladder): void {
    this.#emptied.push(ladder);
  }

  /** An entry begins: what the one before touched is forgotten. */
  begin(): void {
    for (const level of this.#touched) this.#levels.touched[level] = 0;
    this.#touched.length = 0;
    for (const ladder of this.#emptied) ladder.forget();
    this.#emptied.length = 0;
  }

  /** The entry is over: each book that it touched has its next version. */
  end(changed: (book: Book) => void): void {
    for (const level of this.#touched) {
      const book = this.#books[bookOfLadder(this.#levels.ladder[level]!)]!;
      if (book.touched) continue;
      book.touched = true;
      book.version++;
      changed(book);
    }
    for (const level of this.#touched) this.#books[bookOfLadder(this.#levels.ladder[level]!)]!.touched = false;
  }
}

class View implements LevelChange {
  level = 0;
  readonly #levels: Levels;
  readonly #books: readonly Book[];

  constructor(levels: Levels, books: readonly Book[]) {
    this.#levels = levels;
    this.#books = books;
  }

  get #book(): Book {
    return this.#books[bookOfLadder(this.#levels.ladder[this.level]!)]!;
  }

  get symbol(): string {
    return this.#book.symbol;
  }

  get version(): number {
    return this.#book.version;
  }

  get side(): number {
    return sideOfLadder(this.#levels.ladder[this.level]!);
  }

  get price(): number {
    return this.#levels.price[this.level]!;
  }

  get quantityHigh(): number {
    return this.#levels.visibleHigh[this.level]!;
  }

  get quantityLow(): number {
    return this.#levels.visibleLow[this.level]!;
  }

  get orders(): number {
    return this.#levels.orders[this.level]!;
  }
}
