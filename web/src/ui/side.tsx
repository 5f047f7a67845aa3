import { Side } from "../../../src/gen/penstock/v1/order_pb.ts";
import { sideName } from "../shell/wording.ts";

/** Told by word and mark, not by colour alone. */
export function SideMark({ side }: { side: Side }) {
  if (side === Side.UNSPECIFIED) return <span>–</span>;
  return (
    <span class={side === Side.BUY ? "buy" : "sell"}>
      <span aria-hidden="true">{side === Side.BUY ? "▲ " : "▼ "}</span>
      {sideName(side)}
    </span>
  );
}
