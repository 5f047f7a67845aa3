import type { MessageInitShape } from "@bufbuild/protobuf";
import type postgres from "postgres";
import type { AdminService, GetPipelineStatusResponseSchema } from "../gen/penstock/v1/admin_service_pb.ts";
import { countOpenLetters } from "../store/dead-letter-shelf.ts";
import { formatEntryId } from "../stream/position.ts";
import { type Admission, groupsOf } from "./admission.ts";
import type { Implementation } from "./call.ts";
import type { EngineClient } from "./engine-client.ts";
import { timestampOf } from "./timestamp.ts";

type GetPipelineStatus = Implementation<typeof AdminService>["getPipelineStatus"];

/** The state of the log, of what reads it and of the engines, as an operator asks for it. */
export class PipelineStatus implements Pick<Implementation<typeof AdminService>, "getPipelineStatus"> {
  readonly #admission: Admission;
  readonly #engines: EngineClient;
  readonly #sql: postgres.Sql;

  constructor(admission: Admission, engines: EngineClient, sql: postgres.Sql) {
    this.#admission = admission;
    this.#engines = engines;
    this.#sql = sql;
  }

  getPipelineStatus: GetPipelineStatus = (_request, { deadline }) => this.read(deadline, this.countDeadLetters());

  /** Those that are open. */
  async countDeadLetters(): Promise<number> {
    const counts = await countOpenLetters(this.#sql);
    return counts.reduce((sum, { count }) => sum + count, 0);
  }

  /** `deadline` is in milliseconds since 1970. Rejects where Redis cannot be read, or the dead letters are not known. */
  async read(
    deadline: number,
    countOfDeadLetters: Promise<number>,
  ): Promise<MessageInitShape<typeof GetPipelineStatusResponseSchema>> {
    const [{ partitions, memory }, engines, deadLetters] = await Promise.all([
      this.#admission.look(),
      this.#engines.getStatus(deadline),
      countOfDeadLetters,
    ]);
    const engineOf = new Map(engines.map((engine) => [engine.partition, { engine }]));
    return {
      partitions: partitions.map(({ partition, state, events }) => ({
        partition,
        epoch: state.head.epoch,
        lastEntryId: formatEntryId(state.head.last),
        firstEntryId: state.firstEntryId,
        entries: BigInt(state.entries),
        groups: groupsOf({ partition, state, events }).map(({ stream, group }) => ({
          stream,
          group: group.group,
          consumers: group.consumers,
          pending: BigInt(group.pending),
          lag: BigInt(Math.max(group.lag, 0)),
          oldestPendingMs: BigInt(group.oldestPendingMs),
          oldestUndeliveredMs: BigInt(group.oldestUndeliveredMs),
        })),
        lastEntryAt: timestampOf(state.head.last.ms),
        idempotencyHorizonMs: BigInt(Math.max(0, Date.now() - state.head.recognisedSince)),
        ...engineOf.get(partition),
      })),
      redisUsedMemoryBytes: BigInt(memory.usedBytes),
      redisMaxMemoryBytes: BigInt(memory.maxBytes),
      deadLetters: BigInt(deadLetters),
      refusing: this.#admission.refusing,
    };
  }
}
