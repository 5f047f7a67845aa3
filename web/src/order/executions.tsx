import type { ExecutionReport } from "../../../src/gen/penstock/v1/order_pb.ts";
import { hrefOf } from "../shell/router.ts";
import { clockTime, execTypeName, reasonOf, statusName } from "../shell/wording.ts";
import { Empty } from "../ui/states.tsx";

export function Executions({ executions, symbol }: { executions: readonly ExecutionReport[]; symbol: string }) {
  return (
    <section class="panel" aria-labelledby="executions-title">
      <h2 id="executions-title">Executions</h2>
      {executions.length === 0 && <Empty>The engine has reported nothing of it yet.</Empty>}
      {executions.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Executions, oldest first">
          <table>
            <thead>
              <tr>
                <th scope="col">Time</th>
                <th scope="col">What</th>
                <th scope="col" class="number">
                  Quantity
                </th>
                <th scope="col" class="number">
                  Price
                </th>
                <th scope="col" class="number">
                  Filled
                </th>
                <th scope="col" class="number">
                  Open
                </th>
                <th scope="col">Status</th>
                <th scope="col">Entry</th>
              </tr>
            </thead>
            <tbody>
              {executions.map((report) => (
                <Execution key={`${report.position?.entryId} ${report.sequence}`} report={report} symbol={symbol} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Execution({ report, symbol }: { report: ExecutionReport; symbol: string }) {
  const { execType, reason, lastQuantity, lastPrice, order, position, createdAt, trade, aggressor } = report;
  const entry = position === undefined ? "" : `${position.partition}/${position.epoch}/${position.entryId}`;
  return (
    <tr>
      <td>{clockTime(createdAt, { ms: true })}</td>
      <td>
        {execTypeName(execType)}
        {lastQuantity !== "" && (
          <small>
            {" "}
            no. {String(trade)}, {aggressor ? "took" : "rested"}
          </small>
        )}
        {reason !== "" && <small> {reasonOf(reason)}</small>}
      </td>
      <td class="number">{lastQuantity}</td>
      <td class="number">{lastPrice}</td>
      <td class="number">{order?.cumQuantity}</td>
      <td class="number">{order?.leavesQuantity}</td>
      <td>{order === undefined ? "" : statusName(order.status)}</td>
      <td>{position !== undefined && <a href={hrefOf({ screen: "replay", symbol, entry })}>{position.entryId}</a>}</td>
    </tr>
  );
}
