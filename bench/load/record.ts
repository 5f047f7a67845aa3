import { open } from "node:fs/promises";
import { clientOrderId } from "./orders.ts";

const ORDER_ID_BYTES = 36;
// Acknowledgements of one block: 1.4 MB, so that a long run grows without a large copy.
const BLOCK = 32_768;

interface Block {
  readonly ids: Buffer;
  readonly orders: Uint32Array;
  readonly times: Float64Array;
  used: number;
}

/**
 * The client's own record of what was acknowledged, 48 bytes an order until it is written.
 *
 * Its file has one line for each: `client_order_id<TAB>symbol<TAB>order_id<TAB>microseconds since 1970`, the time being
 * the one at which the answer was read.
 */
export class AcknowledgementRecord {
  readonly #blocks: Block[] = [];
  #last: Block | undefined;

  add(order: number, bytes: Buffer, orderId: number, acknowledgedUs: number): void {
    let block = this.#last;
    if (block === undefined || block.used === BLOCK) {
      block = {
        ids: Buffer.allocUnsafeSlow(BLOCK * ORDER_ID_BYTES),
        orders: new Uint32Array(BLOCK),
        times: new Float64Array(BLOCK),
        used: 0,
      };
      this.#blocks.push(block);
      this.#last = block;
    }
    const at = block.used++;
    bytes.copy(block.ids, at * ORDER_ID_BYTES, orderId, orderId + ORDER_ID_BYTES);
    block.orders[at] = order;
    block.times[at] = acknowledgedUs;
  }

  async write(path: string, run: string, symbol: string): Promise<void> {
    const file = await open(path, "w", 0o600);
    try {
      for (const block of this.#blocks) {
        let text = "";
        for (let at = 0; at < block.used; at++) {
          const orderId = block.ids.toString("latin1", at * ORDER_ID_BYTES, (at + 1) * ORDER_ID_BYTES);
          const microseconds = Math.round(block.times[at] ?? 0);
          text += `${clientOrderId(run, block.orders[at] ?? 0)}\t${symbol}\t${orderId}\t${microseconds}\n`;
        }
        await file.write(text);
      }
    } finally {
      await file.close();
    }
  }
}
