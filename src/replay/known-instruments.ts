import { fromBinary } from "@bufbuild/protobuf";
import type { Redis } from "ioredis";
import type postgres from "postgres";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { listInstruments } from "../store/instruments.ts";
import { type Instruments, prepareInstrument, type TradedInstrument } from "../stream/instrument.ts";
import type { PartitionKeys } from "../stream/keys.ts";

/** Every instrument that anybody knows: Postgres, Redis, or an entry that was replayed. Of which version does not matter to rows. */
export class KnownInstruments implements Instruments {
  readonly #bySymbol = new Map<string, TradedInstrument>();

  static async read(
    sql: postgres.Sql,
    redis: Redis | undefined,
    partitions: readonly PartitionKeys[],
  ): Promise<KnownInstruments> {
    const known = new KnownInstruments();
    for (const { definition } of await listInstruments(sql)) known.learn(definition);
    if (redis === undefined) return known;
    for (const { instruments } of partitions)
      for (const definition of Object.values(await redis.hgetallBuffer(instruments))) known.learn(definition);
    return known;
  }

  get(symbol: string): TradedInstrument | undefined {
    return this.#bySymbol.get(symbol);
  }

  learn(definition: Buffer): void {
    const instrument = prepareInstrument(fromBinary(InstrumentSchema, definition));
    this.#bySymbol.set(instrument.symbol, instrument);
  }
}
