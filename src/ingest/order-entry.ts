import type { OrderService } from "../gen/penstock/v1/order_service_pb.ts";
import type { Placement } from "../stream/flush.ts";
import type { Call, Implementation } from "./call.ts";
import { asRequestError, invalidArgument, RequestError, toStatus } from "./errors.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { Checked, OrderCommands } from "./order-commands.ts";
import type { OrderLog } from "./order-log.ts";
import { validateBatchSize } from "./validation/requests.ts";

type OrderMethods = Implementation<typeof OrderService>;

export interface OrderEntryOptions {
  readonly commands: OrderCommands;
  readonly log: OrderLog;
  readonly metrics: IngestMetrics;
}

/** The calls that change something: request → validated → appended → answered with its place. */
export class OrderEntry implements Omit<OrderMethods, "getOrder" | "listOrders" | "streamOrders"> {
  readonly #options: OrderEntryOptions;

  constructor(options: OrderEntryOptions) {
    this.#options = options;
  }

  submitOrder: OrderMethods["submitOrder"] = async (request, call) => {
    const { commands, metrics } = this.#options;
    commands.admit();
    await commands.learn([request]);
    const checked = commands.submit(request, call.principal.account, Date.now());
    if (checked instanceof RequestError) {
      metrics.refused.inc();
      throw checked;
    }
    return commands.submitted(request.clientOrderId, await this.#append(checked, call));
  };

  submitOrders: OrderMethods["submitOrders"] = async (request, call) => {
    const { commands, log, metrics } = this.#options;
    const size = validateBatchSize(request.orders.length);
    if (size !== undefined) throw invalidArgument(size);
    commands.admit();
    await commands.learn(request.orders);
    const now = Date.now();
    const checked = request.orders.map((order) => commands.submit(order, call.principal.account, now));

    // The orders of a partition go together, in the order of the request.
    const byPartition = new Map<number, number[]>();
    for (const [i, order] of checked.entries()) {
      if (order instanceof RequestError) continue;
      const partition = order.partitions[0]!;
      const group = byPartition.get(partition);
      if (group === undefined) byPartition.set(partition, [i]);
      else group.push(i);
    }
    const outcomes: (Placement | RequestError)[] = checked.map((order) => order as RequestError);
    await Promise.all(
      Array.from(byPartition, async ([partition, group]) => {
        try {
          const prepared = group.map((i) => (checked[i] as Checked).command);
          const placements = await log.append(partition, prepared, call);
          for (const [k, i] of group.entries()) outcomes[i] = placements[k]!;
        } catch (error) {
          for (const i of group) outcomes[i] = asRequestError(error);
        }
      }),
    );
    return {
      results: outcomes.map((outcome, i) => {
        try {
          if (outcome instanceof RequestError) throw outcome;
          const value = commands.submitted(request.orders[i]!.clientOrderId, outcome);
          return { result: { case: "accepted", value } };
        } catch (error) {
          metrics.refused.inc();
          return { result: { case: "refused", value: toStatus(asRequestError(error)) } };
        }
      }),
    };
  };

  cancelOrder: OrderMethods["cancelOrder"] = async (request, call) => {
    const { commands } = this.#options;
    await commands.learn([request]);
    const checked = await commands.cancel(request, call.principal.account);
    return commands.changed(request.clientRequestId, await this.#append(checked, call));
  };

  replaceOrder: OrderMethods["replaceOrder"] = async (request, call) => {
    const { commands } = this.#options;
    await commands.learn([request]);
    const checked = await commands.replace(request, call.principal.account);
    return commands.changed(request.clientRequestId, await this.#append(checked, call));
  };

  cancelAllOrders: OrderMethods["cancelAllOrders"] = async (request, call) => {
    const { commands, log } = this.#options;
    await commands.learn([request]);
    const { partitions, command } = commands.cancelAll(request, call.principal.account);
    const placements = await log.appendToEach(partitions, command, call);
    return commands.allCancelled(request.clientRequestId, placements);
  };

  async #append({ partitions, command }: Checked, call: Call): Promise<Placement> {
    const [placement] = await this.#options.log.append(partitions[0]!, [command], call);
    return placement!;
  }
}
