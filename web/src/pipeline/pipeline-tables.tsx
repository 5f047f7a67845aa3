import type { PipelineSample } from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import { count, duration, engineStateName } from "../shell/wording.ts";
import { Empty } from "../ui/states.tsx";

/** The state behind the lines, by partition, group and process. */
export function PipelineTables({ sample }: { sample: PipelineSample }) {
  const partitions = sample.status?.partitions ?? [];
  return (
    <div class="tables">
      <section class="panel" aria-labelledby="engines-title">
        <h2 id="engines-title">Partitions and engines</h2>
        {partitions.length === 0 && <Empty>Their state could not be read.</Empty>}
        {partitions.length > 0 && (
          <div class="scroll" tabIndex={0} role="region" aria-label="Partitions and engines">
            <table>
              <thead>
                <tr>
                  <th scope="col">Partition</th>
                  <th scope="col">Engine</th>
                  <th scope="col">At entry</th>
                  <th scope="col">Newest entry</th>
                  <th scope="col" class="number">
                    Entries
                  </th>
                  <th scope="col" class="number">
                    Open orders
                  </th>
                  <th scope="col">Snapshot</th>
                </tr>
              </thead>
              <tbody>
                {partitions.map(({ partition, epoch, engine, lastEntryId, entries }) => (
                  <tr key={partition}>
                    <th scope="row">
                      {partition} <small>epoch {epoch}</small>
                    </th>
                    <td>
                      {engine === undefined ? "does not answer" : engineStateName(engine.state)}
                      {engine !== undefined && engine.detail !== "" && <small> {engine.detail}</small>}
                    </td>
                    <td>{engine?.position?.entryId ?? "–"}</td>
                    <td>{lastEntryId}</td>
                    <td class="number">{count(entries)}</td>
                    <td class="number">{engine === undefined ? "–" : engine.openOrders}</td>
                    <td>{engine?.snapshot?.entryId ?? "none"}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
      <section class="panel" aria-labelledby="groups-title">
        <h2 id="groups-title">Groups</h2>
        <div class="scroll" tabIndex={0} role="region" aria-label="Groups">
          <table>
            <thead>
              <tr>
                <th scope="col">Stream, group</th>
                <th scope="col" class="number">
                  Consumers
                </th>
                <th scope="col" class="number">
                  Lag
                </th>
                <th scope="col" class="number">
                  Oldest
                </th>
                <th scope="col" class="number">
                  Pending
                </th>
                <th scope="col" class="number">
                  Oldest
                </th>
              </tr>
            </thead>
            <tbody>
              {partitions.flatMap(({ partition, groups }) =>
                groups.map(({ stream, group, consumers, lag, pending, oldestPendingMs, oldestUndeliveredMs }) => (
                  <tr key={`${partition} ${stream} ${group}`}>
                    <th scope="row">
                      {stream} <small>{group}</small>
                    </th>
                    <td class="number">{consumers}</td>
                    <td class="number">{count(lag)}</td>
                    <td class="number">{lag === 0n ? "–" : duration(Number(oldestUndeliveredMs))}</td>
                    <td class="number">{count(pending)}</td>
                    <td class="number">{pending === 0n ? "–" : duration(Number(oldestPendingMs))}</td>
                  </tr>
                )),
              )}
            </tbody>
          </table>
        </div>
      </section>
      <section class="panel" aria-labelledby="processes-title">
        <h2 id="processes-title">Processes</h2>
        <ul class="processes">
          {sample.processes.map(({ role, name }) => (
            <li key={`${role} ${name}`}>
              <strong>{role}</strong> <small>{name}</small>
            </li>
          ))}
        </ul>
      </section>
    </div>
  );
}
