import type { Book, Instrument } from "./book.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { TradingStatus } from "./sets.ts";
import type { Ladder } from "./ladder.ts";
import {
  ACCOUNT,
  ACCOUNT_NEXT,
  BOOK,
  CUM,
  DISPLAY,
  EPOCH_INDEX,
  EXPIRE,
  FLAGS,
  INT,
  KEY_HIGH,
  KEY_LOW,
  MS,
  NEXT,
  NIL,
  NUM,
  OPEN,
  PRICE,
  PRIORITY,
  QUANTITY,
  RESTING,
  SEQ,
  STOP_PRICE,
  STOPPED,
  VALUE_HIGH,
  VALUE_LOW,
  VISIBLE,
  WAITING,
} from "./layout.ts";
import type { Rules } from "./rules.ts";
import { State } from "./state.ts";

// The whole state in one canonical form: accounts and books by their index; the orders of a book queue by queue, the
// best price last; then each account's orders by their number in that sequence; then the state's hash. What can be derived
// (tables, levels, the heap, hashes) is not in it, and nothing that says where a thing lay: the same state, the same
// bytes. Measured on Node 26, one of 2 shared cores: see bench/inner/matching.ts.

const MAGIC = 0x504e5301;
const FORMAT = 1;

/** What a snapshot takes of an order in the middle, and of an account: to begin with room enough. */
const BYTES_OF_ORDER = 64;
const BYTES_OF_ACCOUNT = 32;
const BYTES_OF_BOOK = 256;

const ORDER_FIELDS = [
  PRICE,
  QUANTITY,
  CUM,
  VISIBLE,
  VALUE_LOW,
  VALUE_HIGH,
  STOP_PRICE,
  DISPLAY,
  PRIORITY,
  EXPIRE,
  MS,
] as const;
const QUEUES = RESTING | STOPPED | WAITING;

export function writeSnapshot(state: State, hash: bigint): Uint8Array {
  const { orders, accounts, books } = state;
  const writer = new ByteWriter(
    orders.count * BYTES_OF_ORDER + accounts.list.length * BYTES_OF_ACCOUNT + books.length * BYTES_OF_BOOK + 64,
  );
  writer.word(MAGIC);
  writer.number(FORMAT);
  writer.number(state.rulesNumber);
  writer.number(state.epoch);
  writer.number(state.ms);
  writer.number(state.seq);
  writer.number(accounts.list.length);
  for (const account of accounts.list) {
    writer.text(account.name);
    writer.number(account.sequence);
    writer.number(account.maxOpenOrders);
    writer.number(account.maxQuantity);
  }
  writer.number(books.length);
  for (const book of books) writeBook(writer, book);

  const numbers = new Int32Array(orders.slots);
  let written = 0;
  for (const book of books) {
    for (const ladder of ladders(book)) {
      writer.number(ordersOf(state, ladder));
      // The best level last, so that reading puts each one at the end of its ladder.
      for (let n = ladder.count - 1; n >= 0; n--) writeQueue(state.levels.head[ladder.level(n)]!);
    }
    writer.number(book.waiting);
    writeQueue(book.waitingHead);
  }
  for (const account of accounts.list) {
    writer.number(account.open);
    for (let slot = account.head; slot !== NIL; slot = orders.int[slot * INT + ACCOUNT_NEXT]!) {
      writer.number(numbers[slot]!);
    }
  }
  writer.word(Number(hash & 0xffff_ffffn));
  writer.word(Number(hash >> 32n));
  return writer.bytes();

  function writeQueue(head: number): void {
    for (let slot = head; slot !== NIL; slot = orders.int[slot * INT + NEXT]!) {
      numbers[slot] = written++;
      writeOrder(writer, state, slot);
    }
  }
}

/** Throws a RangeError where the bytes are damaged, or of a format that this code does not know. */
export function readSnapshot(bytes: Uint8Array, rules: ReadonlyMap<number, Rules>): State {
  const reader = new ByteReader(bytes);
  if (reader.word() !== MAGIC) throw new RangeError("not a snapshot of the matching engine");
  const format = reader.number();
  if (format !== FORMAT) throw new RangeError(`a snapshot of format ${format}: this code reads ${FORMAT}`);
  const rulesNumber = reader.number();
  const state = new State(rules, rulesNumber);
  state.epoch = reader.below(2 ** 14);
  state.ms = reader.number();
  state.seq = reader.below(2 ** 32);
  for (let left = reader.count(); left > 0; left--) {
    const account = state.accounts.add(reader.text());
    account.sequence = reader.number();
    account.maxOpenOrders = reader.number();
    account.maxQuantity = reader.number();
    state.hash.introduceAccount(account);
  }
  for (let left = reader.count(); left > 0; left--) readBook(reader, state);
  for (const book of state.books) {
    for (const ladder of ladders(book)) {
      for (let left = reader.count(); left > 0; left--) {
        const slot = readOrder(reader, state, book);
        ladder.append(slot, state.orders.num[slot * NUM + (isStops(book, ladder) ? STOP_PRICE : PRICE)]!);
      }
    }
    for (let left = reader.count(); left > 0; left--) {
      book.await(state.orders, readOrder(reader, state, book));
      state.waiting++;
    }
  }
  for (const account of state.accounts.list) {
    for (let left = reader.count(); left > 0; left--) {
      const slot = reader.below(state.orders.count);
      const { int } = state.orders;
      if (int[slot * INT + ACCOUNT] !== account.index || (int[slot * INT + FLAGS]! & OPEN) !== 0) {
        throw new RangeError("damaged: an order is on the wrong list");
      }
      state.open(slot);
    }
  }
  state.changes.begin();
  state.hash.settle();
  const low = reader.word() >>> 0;
  const hash = (BigInt(reader.word() >>> 0) << 32n) | BigInt(low);
  const { epoch, ms, seq } = state;
  if (reader.rest !== 0 || state.hash.value(epoch, ms, seq, rulesNumber) !== hash) {
    throw new RangeError("damaged: it does not have its own hash");
  }
  return state;
}

function ladders(book: Book): readonly Ladder[] {
  return [book.bids, book.asks, book.buyStops, book.sellStops];
}

function isStops(book: Book, ladder: Ladder): boolean {
  return ladder === book.buyStops || ladder === book.sellStops;
}

function ordersOf({ levels }: State, ladder: Ladder): number {
  let sum = 0;
  for (let n = 0; n < ladder.count; n++) sum += levels.orders[ladder.level(n)]!;
  return sum;
}

function writeBook(writer: ByteWriter, book: Book): void {
  const { instrument } = book;
  writer.text(book.symbol);
  writer.number(book.status);
  writer.number(book.lastPrice);
  writer.number(book.trades);
  writer.number(book.version);
  writer.number(book.priority);
  writer.number(instrument.version);
  writer.text(instrument.tickSize);
  writer.text(instrument.lotSize);
  writer.number(instrument.minQuantity);
  writer.number(instrument.maxQuantity);
  writer.number(instrument.minPrice);
  writer.number(instrument.maxPrice);
  writer.number(instrument.timesInForce.length);
  for (const times of instrument.timesInForce) writer.number(times);
}

function readBook(reader: ByteReader, state: State): void {
  const symbol = reader.text();
  const status = reader.number();
  const known = Object.values(TradingStatus).find((known) => known === status);
  if (known === undefined) throw new RangeError("damaged: no such trading status");
  const lastPrice = reader.number();
  const trades = reader.number();
  const version = reader.number();
  const priority = reader.number();
  const instrument: Instrument = {
    version: reader.number(),
    tickSize: reader.text(),
    lotSize: reader.text(),
    minQuantity: reader.number(),
    maxQuantity: reader.number(),
    minPrice: reader.number(),
    maxPrice: reader.number(),
    timesInForce: Array.from({ length: reader.count() }, () => reader.number()),
  };
  const book = state.addBook(symbol, instrument);
  book.status = known;
  book.lastPrice = lastPrice;
  book.trades = trades;
  book.version = version;
  book.priority = priority;
}

function writeOrder(writer: ByteWriter, { orders }: State, slot: number): void {
  const { num, int } = orders;
  const at = slot * INT;
  for (const field of ORDER_FIELDS) writer.number(num[slot * NUM + field]!);
  writer.number(int[at + SEQ]! >>> 0);
  writer.number(int[at + EPOCH_INDEX]! >>> 0);
  writer.number(int[at + FLAGS]! & ~OPEN);
  writer.number(int[at + ACCOUNT]!);
  writer.word(int[at + KEY_HIGH]!);
  writer.word(int[at + KEY_LOW]!);
  writer.text(orders.clientOrderIds[slot]!);
}

function readOrder(reader: ByteReader, { orders, accounts }: State, book: Book): number {
  const slot = orders.allocate();
  const { num, int } = orders;
  const at = slot * INT;
  for (const field of ORDER_FIELDS) num[slot * NUM + field] = reader.number();
  int[at + SEQ] = reader.below(2 ** 32) | 0;
  int[at + EPOCH_INDEX] = reader.below(2 ** 32) | 0;
  int[at + FLAGS] = reader.below(OPEN);
  if ((int[at + FLAGS]! & QUEUES) === 0) throw new RangeError("damaged: an order is in no queue");
  int[at + ACCOUNT] = reader.below(accounts.list.length);
  int[at + KEY_HIGH] = reader.word();
  int[at + KEY_LOW] = reader.word();
  int[at + BOOK] = book.index;
  orders.clientOrderIds[slot] = reader.text();
  return slot;
}
