import { Commands } from "./commands.ts";
import { inspectDepth, inspectOrder, inspectQueues, inspectSymbol } from "./inspect.ts";
import type {
  BookLevel,
  ClientKey,
  Entry,
  MatchingEngine,
  OpenOrder,
  Outcome,
  Place,
  SymbolState,
} from "./interface.ts";
import { ExecType, Reason, TradingStatus } from "./sets.ts";
import { Matcher } from "./matcher.ts";
import { ACCOUNT_NEXT, INT, NIL } from "./layout.ts";
import { FIRST_RULES, type Rules, RULES } from "./rules.ts";
import { readSnapshot, writeSnapshot } from "./snapshot.ts";
import { State } from "./state.ts";

const MAX_EPOCH = 2 ** 14 - 1;
const MAX_MS = 2 ** 48 - 1;
const MAX_SEQ = 2 ** 32 - 1;
const MAX_INDEX = 2 ** 16 - 1;

/**
 * The matching engine (interface.ts says what it takes and gives).
 *
 * Invariant, between two entries: every open order is in exactly one queue, and nothing that is due is left but what the
 * rules' bounds put off; in the middle of an entry that threw, nothing holds, and nothing goes on.
 */
export class Engine implements MatchingEngine {
  readonly #state: State;
  readonly #matcher: Matcher;
  readonly #commands: Commands;
  readonly #outcome: Outcome;
  /** An entry is being applied; still so after it threw. */
  #isApplying = false;

  /** An empty engine. `rules` are those that it may be switched to, the first ones included. */
  constructor(rules: ReadonlyMap<number, Rules> = RULES, state = new State(rules, FIRST_RULES)) {
    this.#state = state;
    this.#matcher = new Matcher(state);
    this.#commands = new Commands(state, this.#matcher);
    this.#outcome = Object.freeze({ events: state.events, levels: state.changes });
  }

  /** The engine whose snapshot it is. Throws a RangeError where the bytes are damaged, or newer than this code. */
  static restore(bytes: Uint8Array, rules: ReadonlyMap<number, Rules> = RULES): Engine {
    return new Engine(rules, readSnapshot(bytes, rules));
  }

  apply(entry: Entry): Outcome {
    this.#assertWhole();
    this.#assertNext(entry);
    const { events, changes, hash } = this.#state;
    const { commands } = entry;
    this.#isApplying = true;
    events.begin(entry);
    changes.begin();
    this.#state.epoch = entry.epoch;
    this.#state.ms = entry.ms;
    this.#state.seq = entry.seq;
    this.#matcher.reserved = commands.length;
    this.#expire();
    this.#drainAll();
    for (let i = 0; i < commands.length; i++) {
      this.#matcher.reserved = commands.length - 1 - i;
      events.command = i;
      this.#commands.apply(commands[i]!);
    }
    changes.end((book) => hash.touchBook(book));
    hash.settle();
    this.#isApplying = false;
    return this.#outcome;
  }

  get position(): Omit<Place, "index"> {
    const { epoch, ms, seq } = this.#state;
    return { epoch, ms, seq };
  }

  get rules(): number {
    return this.#state.rulesNumber;
  }

  get openOrders(): number {
    return this.#state.orders.count;
  }

  get nextDue(): number {
    const { books, waiting, ms, expiries } = this.#state;
    const isWaiting = waiting > 0 && books.some((book) => book.waiting > 0 && book.status === TradingStatus.OPEN);
    return isWaiting ? ms : expiries.due;
  }

  get stateHash(): bigint {
    const { hash, epoch, ms, seq, rulesNumber } = this.#state;
    return hash.value(epoch, ms, seq, rulesNumber);
  }

  snapshot(): Uint8Array {
    this.#assertWhole();
    return writeSnapshot(this.#state, this.stateHash);
  }

  symbols(): SymbolState[] {
    return this.#state.books.map(inspectSymbol);
  }

  symbol(symbol: string): SymbolState | undefined {
    const book = this.#state.book(symbol);
    return book === undefined ? undefined : inspectSymbol(book);
  }

  depth(symbol: string, side: number, limit: number): BookLevel[] {
    const book = this.#state.book(symbol);
    return book === undefined ? [] : inspectDepth(this.#state, book.side(side), limit);
  }

  queue(symbol: string, side: number): OpenOrder[] {
    const book = this.#state.book(symbol);
    return book === undefined ? [] : inspectQueues(this.#state, book.side(side));
  }

  order(place: Place): OpenOrder | undefined {
    return this.#inspect(this.#state.orderAt(place));
  }

  orderOf(account: string, symbol: string, clientOrderId: string, key: ClientKey): OpenOrder | undefined {
    const owner = this.#state.accounts.find(account);
    const book = this.#state.book(symbol);
    if (owner === undefined || book === undefined) return undefined;
    return this.#inspect(this.#state.orderOf(owner, book, clientOrderId, key));
  }

  ordersOf(account: string): OpenOrder[] {
    const { accounts, orders } = this.#state;
    const found: OpenOrder[] = [];
    for (let slot = accounts.find(account)?.head ?? NIL; slot !== NIL; slot = orders.int[slot * INT + ACCOUNT_NEXT]!) {
      found.push(inspectOrder(this.#state, slot));
    }
    return found;
  }

  sequenceOf(account: string): number {
    return this.#state.accounts.find(account)?.sequence ?? 0;
  }

  #inspect(slot: number): OpenOrder | undefined {
    return slot === NIL ? undefined : inspectOrder(this.#state, slot);
  }

  #assertWhole(): void {
    if (this.#isApplying) throw new Error("an entry ended in the middle: the engine's state is worthless");
  }

  #assertNext({ epoch, ms, seq, commands }: Entry): void {
    const { epoch: lastEpoch, ms: lastMs, seq: lastSeq, rules } = this.#state;
    if (!isUpTo(epoch, MAX_EPOCH) || !isUpTo(ms, MAX_MS) || !isUpTo(seq, MAX_SEQ)) {
      throw new RangeError(`not a position: ${epoch}, ${ms}-${seq}`);
    }
    if ((epoch - lastEpoch || ms - lastMs || seq - lastSeq) <= 0) {
      throw new RangeError(`${epoch}, ${ms}-${seq} is not beyond ${lastEpoch}, ${lastMs}-${lastSeq}`);
    }
    if (commands.length > Math.min(rules.maxCommands, MAX_INDEX)) {
      throw new RangeError(`an entry has at most ${rules.maxCommands} commands`);
    }
  }

  /** What is due leaves before any command, by due time, then by place. */
  #expire(): void {
    const { expiries, events, ms, rules } = this.#state;
    for (let n = 0; n < rules.maxExpiries && expiries.due <= ms; n++) {
      const slot = expiries.next;
      this.#state.withdraw(slot);
      events.ended(ExecType.EXPIRED, slot, Reason.DUE, NIL);
      this.#state.close(slot);
    }
    this.#commands.isOverdue = expiries.due <= ms;
  }

  /** Stops that earlier entries left waiting. */
  #drainAll(): void {
    if (this.#state.waiting === 0 || this.#commands.isOverdue) return;
    for (const book of this.#state.books) this.#matcher.drain(book);
  }
}

function isUpTo(value: number, most: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= most;
}
