import type { Position } from "../gen/penstock/v1/order_pb.ts";
import { OrderService } from "../gen/penstock/v1/order_service_pb.ts";
import type { WatchOrdersResponse } from "../gen/penstock/v1/order_service_pb.ts";
import { UsageError } from "../runtime/errors.ts";
import { MAX_PARTITIONS } from "../stream/position.ts";
import type { ApiClient } from "./client.ts";
import { resumed } from "./resume.ts";
import type { ResumeOptions } from "./resume.ts";

type Place = Pick<Position, "partition" | "epoch" | "entryId" | "index">;

/** As `Positions.text` writes it: `<partition>:<epoch>:<entry>:<index>`. */
const POSITION = /^(\d{1,4}):(\d{1,5}):(\d{1,15}-\d{1,10}):(\d{1,10})$/;

/** The last place that is known of each partition: where a watch goes on. */
export class Positions {
  readonly #places = new Map<number, Place>();

  /** @throws UsageError where the text is none. */
  static read(text: string): Positions {
    const positions = new Positions();
    for (const part of text.split(",")) {
      const [, partition, epoch, entryId, index] = POSITION.exec(part) ?? [];
      if (entryId === undefined || Number(partition) >= MAX_PARTITIONS) {
        throw new UsageError(`not a position such as 0:1:1735689600000-0:2, nor "start": ${text}`);
      }
      positions.set({ partition: Number(partition), epoch: Number(epoch), entryId, index: Number(index) });
    }
    return positions;
  }

  set({ partition, epoch, entryId, index }: Place): void {
    this.#places.set(partition, { partition, epoch, entryId, index });
  }

  list(): Place[] {
    return [...this.#places.values()];
  }

  /** For `penstock watch --from`. */
  text(): string {
    return this.list()
      .map(({ partition, epoch, entryId, index }) => `${partition}:${epoch}:${entryId}:${index}`)
      .join(",");
  }
}

export interface OrderWatchOptions extends ResumeOptions {
  /** Goes on with what is taken. Empty: from what comes next. */
  readonly positions: Positions;
  readonly symbol: string;
  readonly allAccounts: boolean;
}

/** WatchOrders, opened again after a cut with no gap and no double. Ends and throws as `resumed`. */
export function watchOrders(api: ApiClient, options: OrderWatchOptions): AsyncGenerator<WatchOrdersResponse, void> {
  const { positions, symbol, allAccounts, signal } = options;
  async function* open(): AsyncGenerator<WatchOrdersResponse, void> {
    const request = { after: positions.list(), symbol, allAccounts };
    for await (const message of api.stream(OrderService.method.watchOrders, request, signal)) {
      const { update } = message;
      if (update.case === "execution" && update.value.position !== undefined) positions.set(update.value.position);
      // Until the first heartbeat a watch without positions has promised nothing; it names all partitions.
      if (update.case === "heartbeat") for (const position of update.value.highWater) positions.set(position);
      yield message;
    }
  }
  return resumed(open, options);
}

/** Before everything, in each partition that there is. @throws CallError */
export async function startOfLog(api: ApiClient, signal: AbortSignal): Promise<Positions> {
  const positions = new Positions();
  for await (const { update } of api.stream(OrderService.method.watchOrders, {}, signal)) {
    if (update.case !== "heartbeat") continue;
    for (const { partition } of update.value.highWater)
      positions.set({ partition, epoch: 0, entryId: "0-0", index: 0 });
    break;
  }
  return positions;
}
