import { fromBinary } from "@bufbuild/protobuf";
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { type Instrument, InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { Periodic } from "../runtime/periodic.ts";
import { type Instruments, prepareInstrument, type TradedInstrument } from "./instrument.ts";
import type { PartitionKeys } from "./keys.ts";

/** An instrument as Redis holds it. */
export interface DefinedInstrument {
  readonly encoded: Buffer;
  readonly definition: Instrument;
  readonly traded: TradedInstrument;
}

/** How soon a change made by another process is seen. */
const REFRESH_MS = 1_000;

/**
 * The instruments of all partitions, as Redis holds them.
 *
 * Invariant: what it holds was in Redis at the last refresh. A change made elsewhere is seen a second later; until
 * then an order is held against the version before, and the engine checks again.
 */
export class InstrumentBook implements Instruments {
  readonly #redis: Redis;
  readonly #partitions: readonly PartitionKeys[];
  readonly #bySymbol = new Map<string, DefinedInstrument>();
  /** Server and number of changes of a partition when its instruments were last read. */
  readonly #states = new Map<number, string>();
  readonly #rounds: Periodic;
  /** The newest refresh that has begun to read, and the one that waits for its end. */
  #reading: Promise<void> | undefined;
  #waiting: Promise<void> | undefined;

  constructor(redis: Redis, partitions: readonly PartitionKeys[], log: Logger) {
    this.#redis = redis;
    this.#partitions = partitions;
    const complain = (error: unknown) => log.warn({ err: error }, "instruments could not be read");
    this.#rounds = new Periodic(REFRESH_MS, () => this.refresh(), complain);
  }

  async start(): Promise<void> {
    await this.refresh();
    this.#rounds.start();
  }

  async stop(): Promise<void> {
    await this.#rounds.stop();
  }

  get(symbol: string): TradedInstrument | undefined {
    return this.#bySymbol.get(symbol)?.traded;
  }

  /** An instrument that was defined before, though perhaps through another process, and not seen here yet. */
  async find(symbol: string): Promise<TradedInstrument | undefined> {
    if (this.isUnknown(symbol)) await this.refresh();
    return this.get(symbol);
  }

  /** Whether to refresh before a symbol is refused: another process may have defined it a moment ago. */
  isUnknown(symbol: string): boolean {
    return symbol !== "" && !this.#bySymbol.has(symbol);
  }

  defined(symbol: string): DefinedInstrument | undefined {
    return this.#bySymbol.get(symbol);
  }

  /** By symbol. */
  all(): DefinedInstrument[] {
    return [...this.#bySymbol.values()].sort((a, b) => (a.traded.symbol < b.traded.symbol ? -1 : 1));
  }

  /** Takes a definition from elsewhere, where it is newer than the one at hand. */
  learn(encoded: Buffer): void {
    const definition = fromBinary(InstrumentSchema, encoded);
    const present = this.#bySymbol.get(definition.symbol)?.definition.version ?? 0;
    if (definition.version <= present) return;
    this.#bySymbol.set(definition.symbol, { encoded, definition, traded: prepareInstrument(definition) });
  }

  /** Reads what changed until now. One that is under way may have missed the latest: callers meanwhile share the next. */
  refresh(): Promise<void> {
    this.#waiting ??= this.#readNext();
    return this.#waiting;
  }

  async #readNext(): Promise<void> {
    await this.#reading?.catch(() => {});
    this.#reading = this.#waiting;
    this.#waiting = undefined;
    await this.#readAll();
  }

  async #readAll(): Promise<void> {
    for (const keys of this.#partitions) {
      // The number alone could be the same again after a server lost a change.
      const state = (await this.#redis.hmget(keys.head, "run", "defined")).join();
      if (this.#states.get(keys.partition) === state) continue;
      for (const [symbol, encoded] of Object.entries(await this.#redis.hgetallBuffer(keys.instruments))) {
        const definition = fromBinary(InstrumentSchema, encoded);
        this.#bySymbol.set(symbol, { encoded, definition, traded: prepareInstrument(definition) });
      }
      this.#states.set(keys.partition, state);
    }
  }
}
