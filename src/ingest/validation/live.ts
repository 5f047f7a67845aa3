import type { WatchRequest } from "../../gen/penstock/v1/live_service_pb.ts";
import type { Fields, Violation } from "./violation.ts";

/** A screen shows one or two. The snapshots of so many full books, some 6 MB, are what a client may leave untaken (`Watches`). */
const MAX_SYMBOLS = 16;

/** What is wrong with a request for several watches as a whole; each of them is looked at by itself. Does not throw. */
export function liveFaults(request: Fields<WatchRequest>): Violation[] {
  const { orders, books, trades, pipeline } = request;
  if (orders === undefined && pipeline === undefined && books.length === 0 && trades.length === 0) {
    return [{ field: "orders", description: "is required, or one of books, trades and pipeline" }];
  }
  const faults: Violation[] = [];
  for (const [field, asked] of Object.entries({ books, trades })) {
    if (asked.length > MAX_SYMBOLS) {
      faults.push({ field, description: `must be at most ${MAX_SYMBOLS}` });
      continue; // a megabyte holds so many that looking at each beside the others would take half a minute
    }
    const symbols = asked.map(({ symbol }) => symbol);
    const twice = symbols.findIndex((symbol, i) => symbols.indexOf(symbol) < i);
    if (twice >= 0) faults.push({ field: `${field}[${twice}].symbol`, description: "must be named once" });
  }
  return faults;
}
