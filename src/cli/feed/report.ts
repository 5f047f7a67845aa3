import { formatTable } from "../table.ts";
import { differences } from "./comparison.ts";
import type { Compared, Difference } from "./comparison.ts";

/** What a comparison came to, as it is printed. */
export function comparedText(compared: Compared): string {
  const { orders, uncompared, same, sameFilled, recordedFilled, recordedQuantity, engineQuantity, why } = compared;
  if (orders === 0)
    return "compared with the recording: nothing, since all of it was fed before; another --run feeds it anew";
  const lines = [
    `compared with the recording: ${n(orders)} orders, ${n(same)} filled as recorded (${n(sameFilled)} of the ${n(recordedFilled)} that were filled at all)`,
    `filled in all: ${recordedQuantity} in the recording, ${engineQuantity} by the engine`,
  ];
  if (uncompared > 0) lines.push(`${n(uncompared)} orders were not compared: fed before, or too many to be remembered`);
  const rows = (Object.keys(differences) as Difference[])
    .filter((reason) => why[reason] !== undefined)
    .map((reason) => ({ orders: why[reason] ?? 0, "filled otherwise": differences[reason] }));
  return rows.length === 0 ? lines.join("\n") : `${lines.join("\n")}\n\n${formatTable(rows)}`;
}

function n(count: number): string {
  return count.toLocaleString("en");
}
