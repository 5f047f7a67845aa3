import type postgres from "postgres";
import type { AdminService } from "../gen/penstock/v1/admin_service_pb.ts";
import { countDeadLetters } from "../store/dead-letters.ts";
import { formatEntryId } from "../stream/position.ts";
import type { Admission } from "./admission.ts";
import type { Implementation } from "./call.ts";
import { timestampOf } from "./timestamp.ts";

type GetPipelineStatus = Implementation<typeof AdminService>["getPipelineStatus"];

/** The state of the log and of what reads it, as an operator asks for it. */
export class PipelineStatus implements Pick<Implementation<typeof AdminService>, "getPipelineStatus"> {
  readonly #admission: Admission;
  readonly #sql: postgres.Sql;

  constructor(admission: Admission, sql: postgres.Sql) {
    this.#admission = admission;
    this.#sql = sql;
  }

  getPipelineStatus: GetPipelineStatus = async () => {
    const { partitions, memory } = await this.#admission.look();
    const deadLetters = await countDeadLetters(this.#sql);
    return {
      partitions: partitions.map(({ partition, state }) => ({
        partition,
        epoch: state.head.epoch,
        lastEntryId: formatEntryId(state.head.last),
        firstEntryId: state.firstEntryId,
        entries: BigInt(state.entries),
        groups: state.groups.map((group) => ({
          stream: "orders",
          group: group.group,
          consumers: group.consumers,
          pending: BigInt(group.pending),
          lag: BigInt(Math.max(group.lag, 0)),
          oldestPendingMs: BigInt(group.oldestPendingMs),
          oldestUndeliveredMs: BigInt(group.oldestUndeliveredMs),
        })),
        lastEntryAt: timestampOf(state.head.last.ms),
        idempotencyHorizonMs: BigInt(Math.max(0, Date.now() - state.head.recognisedSince)),
      })),
      redisUsedMemoryBytes: BigInt(memory.usedBytes),
      redisMaxMemoryBytes: BigInt(memory.maxBytes),
      deadLetters: BigInt(deadLetters),
      refusing: this.#admission.refusal?.message ?? "",
    };
  };
}
