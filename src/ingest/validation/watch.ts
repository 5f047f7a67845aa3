import type { WatchOrdersRequest } from "../../gen/penstock/v1/order_service_pb.ts";
import type { Instruments, TradedInstrument } from "../../stream/instrument.ts";
import { type EntryId, MAX_EPOCH, parseEntryId } from "../../stream/position.ts";
import { type ReportPlace, WHOLE_ENTRY } from "../reports.ts";
import { readSymbol } from "./target.ts";
import type { Fields, Violation, Violations } from "./violation.ts";

export interface WatchFields {
  /** By partition: behind which place its reports are wanted. Whole entry 0-0 of epoch 0 is the beginning. */
  readonly after: ReadonlyMap<number, ReportPlace>;
  /** Undefined: all symbols. */
  readonly instrument: TradedInstrument | undefined;
}

/** What a WatchOrders asks for, or every field at fault; does not throw. */
export function validateWatch(
  request: Fields<WatchOrdersRequest>,
  instruments: Instruments,
  partitions: number,
): WatchFields | Violations {
  const faults: Violation[] = [];
  const instrument = request.symbol === "" ? undefined : readSymbol(request.symbol, instruments, faults);
  const after = new Map<number, ReportPlace>();
  if (request.after.length > partitions) {
    faults.push({ field: "after", description: `must be at most one position for each of ${partitions} partitions` });
    return { violations: faults };
  }
  for (const [i, { partition, epoch, entryId, index }] of request.after.entries()) {
    const field = `after[${i}]`;
    const id = readEntryId(entryId);
    const before = faults.length;
    if (partition >= partitions) {
      faults.push({ field: `${field}.partition`, description: `must be less than ${partitions}` });
    } else if (after.has(partition)) {
      faults.push({ field: `${field}.partition`, description: "must be named once" });
    }
    if (id === undefined) {
      faults.push({ field: `${field}.entry_id`, description: "must be an entry_id as it was answered" });
    } else if (epoch > MAX_EPOCH || (epoch === 0) !== (id.ms === 0 && id.seq === 0)) {
      faults.push({ field: `${field}.epoch`, description: `must be 1 to ${MAX_EPOCH}, or 0 with the entry_id 0-0` });
    }
    if (index > WHOLE_ENTRY) faults.push({ field: `${field}.index`, description: `must be at most ${WHOLE_ENTRY}` });
    if (faults.length > before || id === undefined) continue;
    after.set(partition, { epoch, ...id, index: epoch === 0 ? WHOLE_ENTRY : index });
  }
  return faults.length > 0 ? { violations: faults } : { after, instrument };
}

function readEntryId(text: string): EntryId | undefined {
  try {
    return parseEntryId(text);
  } catch {
    return undefined;
  }
}
