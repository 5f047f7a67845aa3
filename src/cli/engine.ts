import { toJsonString } from "@bufbuild/protobuf";

import {
  AdminService,
  CloseGapResponseSchema,
  PartitionStatusSchema,
  VoidEntryResponseSchema,
  type PartitionStatus,
} from "../gen/penstock/v1/admin_service_pb.ts";
import { EnginePartitionStatus_State as State } from "../gen/penstock/v1/engine_service_pb.ts";
import { ApiClient } from "./client.ts";
import { apiOf } from "./stack-file.ts";
import { enumName, formatTable } from "./table.ts";

export interface EngineOptions {
  readonly url?: string;
  readonly token?: string;
  readonly json?: true;
}

/** What an operator says beside it. */
export interface ReasonOptions extends EngineOptions {
  readonly reason: string;
}

/** Prints what the engine of each partition does. Resolves with whether all of them work. */
export async function printEngineStatus(options: EngineOptions): Promise<boolean> {
  return await asAdmin(options, async (api) => {
    const { partitions } = await api.call(AdminService.method.getPipelineStatus, {});
    const lines = options.json
      ? partitions.map((status) => toJsonString(PartitionStatusSchema, status))
      : [formatTable(partitions.map(statusRow)), ...partitions.flatMap(detailOf)];
    process.stdout.write(`${lines.join("\n")}\n`);
    const well: readonly (State | undefined)[] = [State.ACTIVE, State.STANDBY];
    return partitions.every(({ engine }) => well.includes(engine?.state));
  });
}

/** Tells the engine to pass over an entry that it stands still at, and prints where that stands in the log. */
export async function voidEntry(partition: number, entryId: string, options: ReasonOptions): Promise<void> {
  await asAdmin(options, async (api) => {
    // The same for the same entry, so that a retry finds its first try.
    const requestId = `void-${partition}-${entryId}`;
    const { reason } = options;
    const answer = await api.call(AdminService.method.voidEntry, { requestId, partition, entryId, reason });
    const said = `${entryId} is passed over, by ${answer.commandId}${answer.duplicate ? " as before" : ""}`;
    process.stdout.write(`${options.json ? toJsonString(VoidEntryResponseSchema, answer) : said}\n`);
  });
}

/** Has the log go on as if what is missing had never been, up to this entry; prints what that took. */
export async function closeGap(partition: number, entryId: string, options: ReasonOptions): Promise<void> {
  await asAdmin(options, async (api) => {
    const { reason } = options;
    const answer = await api.call(AdminService.method.closeGap, { partition, entryId, reason });
    const { previousEntryId, withdrawn, snapshots, duplicate } = answer;
    const said = `the gap from ${previousEntryId} to ${entryId} is closed${duplicate ? " as before" : ""}`;
    const taken = `events of ${withdrawn} entries were taken back, ${snapshots} snapshots removed`;
    process.stdout.write(`${options.json ? toJsonString(CloseGapResponseSchema, answer) : `${said}; ${taken}`}\n`);
  });
}

async function asAdmin<T>(options: EngineOptions, work: (api: ApiClient) => Promise<T>): Promise<T> {
  const api = new ApiClient(apiOf(options, "admin"));
  try {
    return await work(api);
  } finally {
    api.close();
  }
}

function statusRow({ partition, engine, groups, lastEntryId }: PartitionStatus) {
  const events = groups.filter(({ stream }) => stream === "events");
  return {
    partition,
    state: engine === undefined ? "NO ANSWER" : enumName(State, engine.state),
    position: engine?.position?.entryId ?? "",
    log_end: lastEntryId,
    behind_ms: engine === undefined ? "" : msOf(lastEntryId) - msOf(engine.position?.entryId ?? lastEntryId),
    unwritten: String(events.reduce((sum, { lag, pending }) => sum + lag + pending, 0n)),
    open_orders: engine?.openOrders ?? "",
    rules: engine?.rules ?? "",
    state_hash: engine === undefined ? "" : engine.stateHash.toString(16).padStart(16, "0"),
    snapshot: engine?.snapshot?.entryId ?? "",
  };
}

function detailOf({ partition, engine }: PartitionStatus): string[] {
  if (engine === undefined || engine.detail === "") return [];
  const missing = engine.gap === undefined ? "" : `; it waits for entry ${engine.gap.missing}, which is missing`;
  return [`partition ${partition}: ${engine.detail}${missing}`];
}

function msOf(entryId: string): number {
  return Number(entryId.split("-", 1)[0]);
}
