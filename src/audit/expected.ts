import { fromBinary } from "@bufbuild/protobuf";
import type postgres from "postgres";
import { recordOf, type StreamRows } from "../consumers/record.ts";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import type { EntryRecord } from "../store/entry-record.ts";
import { listInstruments } from "../store/instruments.ts";
import type { JournalEntry } from "../store/journal.ts";
import type { Entry } from "../stream/entry.ts";
import { type Instruments, prepareInstrument, type TradedInstrument } from "../stream/instrument.ts";
import { formatEntryId } from "../stream/position.ts";

/** The instruments as Postgres has them: those of all entries that are written there. Ticks and lots never change. */
export async function storedInstruments(sql: postgres.Sql): Promise<Instruments> {
  const instruments = new Map<string, TradedInstrument>();
  for (const { symbol, definition } of await listInstruments(sql)) {
    try {
      instruments.set(symbol, prepareInstrument(fromBinary(InstrumentSchema, definition)));
    } catch {
      // Its definition is compared with that of the log, and orders of it have no rows then.
    }
  }
  return instruments;
}

/** An entry of the journal as the log had it. */
export function toEntry({ prevMs, prevSeq, payload, ...entry }: Omit<JournalEntry, "commands" | "hash">): Entry {
  const { epoch, ms, seq, version } = entry;
  return {
    ...{ id: formatEntryId(entry), epoch, ms, seq, version },
    previous: { ms: prevMs, seq: prevSeq },
    payload: payload ?? Buffer.alloc(0),
  };
}

/** What a worker makes of an entry. Throws a NewerVersionError. */
export function expectedRecord(
  rows: StreamRows,
  entry: Entry,
  options: { readonly partition: number; readonly instruments: Instruments },
): EntryRecord {
  const { id, epoch, previous, version, payload } = entry;
  const values = { p: formatEntryId(previous), e: String(epoch), v: String(version) };
  const fields = Object.entries(values).flatMap(([name, value]) => [Buffer.from(name), Buffer.from(value)]);
  const delivered = { id, fields: [...fields, Buffer.from("d"), payload], deliveries: 1 };
  return recordOf(rows, delivered, { ...options, instrumentsAreFresh: true });
}
