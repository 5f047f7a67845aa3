const EMPTY = 0;
const FIRST_CELLS = 64;

/**
 * Finds slots by a hash of 32 bits: open addressing over one typed array, since a Map of strings costs 550 to 1,600 ns a
 * look-up at the sizes of a live book.
 *
 * Invariants: a cell is a pair of hash and slot + 1, 0 where it is empty; between a slot's home and its cell there is no
 * empty cell; at most half of the cells are taken. Several slots may share a hash: who asks compares what he seeks.
 */
export class SlotTable {
  #cells = new Int32Array(FIRST_CELLS * 2);
  #mask = FIRST_CELLS - 1;
  #count = 0;

  add(hash: number, slot: number): void {
    if (++this.#count * 2 > this.#mask) this.#grow();
    this.#put(hash, slot);
  }

  /** The first cell with this hash, or -1. */
  first(hash: number): number {
    return this.#probe(hash, hash & this.#mask);
  }

  /** The next cell with this hash after one that was found, or -1. */
  next(hash: number, cell: number): number {
    return this.#probe(hash, (cell + 1) & this.#mask);
  }

  slotAt(cell: number): number {
    return this.#cells[cell * 2 + 1]! - 1;
  }

  /** The slot must be there, under this hash. */
  remove(hash: number, slot: number): void {
    const cells = this.#cells;
    const mask = this.#mask;
    let hole = hash & mask;
    while (cells[hole * 2 + 1] !== slot + 1) {
      if (cells[hole * 2 + 1] === EMPTY) throw new Error("a slot is not in its table");
      hole = (hole + 1) & mask;
    }
    // What follows moves up, where the hole lies between its home and its cell.
    for (let cell = (hole + 1) & mask; cells[cell * 2 + 1] !== EMPTY; cell = (cell + 1) & mask) {
      const home = cells[cell * 2]! & mask;
      if (((cell - home) & mask) < ((cell - hole) & mask)) continue;
      cells[hole * 2] = cells[cell * 2]!;
      cells[hole * 2 + 1] = cells[cell * 2 + 1]!;
      hole = cell;
    }
    cells[hole * 2 + 1] = EMPTY;
    this.#count--;
  }

  #probe(hash: number, from: number): number {
    const cells = this.#cells;
    const mask = this.#mask;
    for (let cell = from; cells[cell * 2 + 1] !== EMPTY; cell = (cell + 1) & mask) {
      if (cells[cell * 2] === hash) return cell;
    }
    return -1;
  }

  #put(hash: number, slot: number): void {
    const cells = this.#cells;
    const mask = this.#mask;
    let cell = hash & mask;
    while (cells[cell * 2 + 1] !== EMPTY) cell = (cell + 1) & mask;
    cells[cell * 2] = hash;
    cells[cell * 2 + 1] = slot + 1;
  }

  #grow(): void {
    const old = this.#cells;
    this.#cells = new Int32Array(old.length * 2);
    this.#mask = old.length - 1;
    for (let at = 0; at < old.length; at += 2) {
      if (old[at + 1] !== EMPTY) this.#put(old[at]!, old[at + 1]! - 1);
    }
  }
}
