import type { OrderService, SubmitOrderRequest } from "../gen/penstock/v1/order_service_pb.ts";
import type { Placement } from "../stream/flush.ts";
import type { Call, Implementation } from "./call.ts";
import { asRequestError, invalidArgument, RequestError, toStatus } from "./errors.ts";
import { type MatchedAnswers, wantsMatched } from "./matched-answers.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { Checked, OrderCommands } from "./order-commands.ts";
import type { OrderLog } from "./order-log.ts";
import type { SubmitResult } from "./submit-codec.ts";
import { validateBatchSize } from "./validation/requests.ts";

type OrderMethods = Implementation<typeof OrderService>;

export interface OrderEntryOptions {
  readonly commands: OrderCommands;
  readonly log: OrderLog;
  readonly matched: MatchedAnswers;
  readonly metrics: IngestMetrics;
}

/** The calls that change something: request → validated → appended → answered with its place, or with what the engine made of it. */
export class OrderEntry implements Omit<
  OrderMethods,
  "getOrder" | "getOrderTrace" | "listOrders" | "streamOrders" | "watchOrders"
> {
  readonly #options: OrderEntryOptions;

  constructor(options: OrderEntryOptions) {
    this.#options = options;
  }

  submitOrder: OrderMethods["submitOrder"] = async (request, call) => {
    const { commands, log, matched, metrics } = this.#options;
    commands.admit();
    log.admit(1);
    await commands.learn([request]);
    const checked = commands.submit(request, call.principal.account, Date.now());
    if (checked instanceof RequestError) {
      metrics.refused.inc();
      throw checked;
    }
    const answer = commands.submitted(request.clientOrderId, await this.#append(checked, call));
    return wantsMatched(request) ? matched.submitted(answer, call) : answer;
  };

  submitOrders: OrderMethods["submitOrders"] = async (request, call) => {
    const { commands, log, metrics } = this.#options;
    const size = validateBatchSize(request.orders.length);
    if (size !== undefined) throw invalidArgument(size);
    commands.admit();
    log.admit(request.orders.length);
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
    const results = outcomes.map((outcome, i): SubmitResult => {
      try {
        if (outcome instanceof RequestError) throw outcome;
        return { case: "accepted", value: commands.submitted(request.orders[i]!.clientOrderId, outcome) };
      } catch (error) {
        metrics.refused.inc();
        return { case: "refused", value: toStatus(asRequestError(error)) };
      }
    });
    await this.#match(request.orders, results, call);
    return { results: results.map((result) => ({ result })) };
  };

  cancelOrder: OrderMethods["cancelOrder"] = async (request, call) => {
    const { commands, matched } = this.#options;
    await commands.learn([request]);
    const checked = await commands.cancel(request, call.principal.account);
    const answer = commands.changed(request.clientRequestId, await this.#append(checked, call));
    return wantsMatched(request) ? matched.changed(answer, call) : answer;
  };

  replaceOrder: OrderMethods["replaceOrder"] = async (request, call) => {
    const { commands, matched } = this.#options;
    await commands.learn([request]);
    const checked = await commands.replace(request, call.principal.account);
    const answer = commands.changed(request.clientRequestId, await this.#append(checked, call));
    return wantsMatched(request) ? matched.changed(answer, call) : answer;
  };

  cancelAllOrders: OrderMethods["cancelAllOrders"] = async (request, call) => {
    const { commands, log, matched } = this.#options;
    await commands.learn([request]);
    const { partitions, command } = commands.cancelAll(request, call.principal.account);
    const placements = await log.appendToEach(partitions, command, call);
    const answer = commands.allCancelled(request.clientRequestId, placements);
    return wantsMatched(request) ? matched.allCanceled(answer, call) : answer;
  };

  /** Puts what became of them in the place of the answers to those that want to know. */
  async #match(orders: readonly SubmitOrderRequest[], results: SubmitResult[], call: Call): Promise<void> {
    const wanted = results.flatMap((result, i) =>
      result.case === "accepted" && wantsMatched(orders[i]!) ? [{ i, answer: result.value }] : [],
    );
    if (wanted.length === 0) return;
    const answers = wanted.map(({ answer }) => answer);
    const matched = await this.#options.matched.submittedAll(answers, call);
    for (const [k, { i }] of wanted.entries()) results[i] = { case: "accepted", value: matched[k]! };
  }

  async #append({ partitions, command }: Checked, call: Call): Promise<Placement> {
    const [placement] = await this.#options.log.append(partitions[0]!, [command], call);
    return placement!;
  }
}
