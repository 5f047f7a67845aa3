import type { GetOrderTraceResponse } from "../../../src/gen/penstock/v1/order_service_pb.ts";
import { hrefOf } from "../shell/router.ts";
import { bytes } from "../shell/wording.ts";

/** Where the order stands in the log, between which others. */
export function LogPlace({ trace }: { trace: GetOrderTraceResponse }) {
  const { logged, order } = trace;
  if (logged?.position === undefined) return null;
  const { partition, epoch, entryId, index } = logged.position;
  const size =
    logged.commands === 0
      ? "not kept any more"
      : `${logged.commands === 1 ? "1 command" : `${logged.commands} commands`}, ${bytes(logged.bytes)}`;
  return (
    <section class="panel" aria-labelledby="place-title">
      <h2 id="place-title">
        Place in the log{" "}
        <a href={hrefOf({ screen: "replay", symbol: order!.symbol, entry: `${partition}/${epoch}/${entryId}` })}>
          the book behind it
        </a>
      </h2>
      <div class="chain">
        <span class="entry">
          <small>entry before</small>
          {logged.previousEntryId || "none that is kept"}
        </span>
        <span aria-hidden="true">→</span>
        <span class="entry current">
          <small>its entry</small>
          {entryId}
        </span>
        <span aria-hidden="true">→</span>
        <span class="entry">
          <small>entry behind</small>
          {logged.nextEntryId || "none yet"}
        </span>
      </div>
      <dl class="facts">
        <div>
          <dt>Partition, epoch</dt>
          <dd>
            {partition}, {epoch}
          </dd>
        </div>
        <div>
          <dt>Command in its entry</dt>
          <dd>
            {index + 1}
            {logged.commands > 0 && ` of ${logged.commands}`}
          </dd>
        </div>
        <div>
          <dt>Its entry</dt>
          <dd>{size}</dd>
        </div>
        <div>
          <dt>In Redis</dt>
          <dd>{logged.inStream ? "still there" : "trimmed: Postgres has it"}</dd>
        </div>
      </dl>
    </section>
  );
}
