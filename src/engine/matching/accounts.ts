import * as layout from "./layout.ts";
import type { Orders } from "./orders.ts";

// See layout.ts: an imported constant would be loaded at each use.
const { ACCOUNT, ACCOUNT_NEXT, ACCOUNT_PREVIOUS, INT, NIL } = layout;

/** Names at the door have at most 32 characters. */
const MAX_NAME = 64;

/** Whether an account can be called so. */
export function isName(name: string): boolean {
  return name !== "" && name.length <= MAX_NAME;
}

/**
 * An account: the count of its events, its limits and its open orders.
 *
 * Invariant: the list from `head` to `tail` holds its open orders in the order of their places, and `open` counts them.
 */
export class Account {
  readonly index: number;
  readonly name: string;
  sequence = 0;
  /** 0: the rules' default. */
  maxOpenOrders = 0;
  maxQuantity = 0;
  head = NIL;
  tail = NIL;
  open = 0;
  // The share of the state's hash, and whether it is due to be made anew.
  dirty = false;
  fixedA = 0;
  fixedB = 0;
  hashA = 0;
  hashB = 0;

  constructor(index: number, name: string) {
    this.index = index;
    this.name = name;
  }
}

/** Accounts by the index that they got when they were seen first. They stay: the count of their events never ends. */
export class Accounts {
  readonly list: Account[] = [];
  readonly #byName = new Map<string, Account>();
  #last: Account | undefined;

  find(name: string): Account | undefined {
    // Orders of one account come in a row often enough that this pays.
    if (this.#last?.name === name) return this.#last;
    const account = this.#byName.get(name);
    if (account !== undefined) this.#last = account;
    return account;
  }

  add(name: string): Account {
    const account = new Account(this.list.length, name);
    this.list.push(account);
    this.#byName.set(name, account);
    return account;
  }

  /** An order that is newer than all that are open. */
  append(orders: Orders, slot: number): void {
    const { int } = orders;
    const account = this.list[int[slot * INT + ACCOUNT]!]!;
    int[slot * INT + ACCOUNT_NEXT] = NIL;
    int[slot * INT + ACCOUNT_PREVIOUS] = account.tail;
    if (account.tail === NIL) account.head = slot;
    else int[account.tail * INT + ACCOUNT_NEXT] = slot;
    account.tail = slot;
    account.open++;
  }

  remove(orders: Orders, slot: number): void {
    const { int } = orders;
    const account = this.list[int[slot * INT + ACCOUNT]!]!;
    const next = int[slot * INT + ACCOUNT_NEXT]!;
    const previous = int[slot * INT + ACCOUNT_PREVIOUS]!;
    if (previous === NIL) account.head = next;
    else int[previous * INT + ACCOUNT_NEXT] = next;
    if (next === NIL) account.tail = previous;
    else int[next * INT + ACCOUNT_PREVIOUS] = previous;
    account.open--;
  }
}
