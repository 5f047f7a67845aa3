import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { WireWriter } from "../stream/wire.ts";
import type { ExecutionReportInit } from "./execution-reports.ts";
import { encodeOrder } from "./order-codec.ts";

/** Tags, lengths, numbers and times of a report; its order and its texts come on top. */
const ROOM = 256;

const report = new WireWriter(2048);
const part = new WireWriter(256);

/** A WatchOrdersResponse with a report, by hand: whoever watches all accounts is told of everything. */
export function encodeReport(init: ExecutionReportInit): Uint8Array {
  const order = init.order && encodeOrder(init.order);
  const texts = [init.reason, init.lastQuantity, init.lastPrice, init.clientRequestId];
  report.length = 0;
  report.reserve(ROOM + (order?.length ?? 0) + 3 * texts.reduce((sum, text) => sum + (text?.length ?? 0), 0));
  if (init.position !== undefined) report.field(1, place(init.position));
  report.uint(2, Number(init.sequence ?? 0n));
  report.uint(3, init.execType ?? 0);
  if (order !== undefined) report.field(4, order);
  report.string(5, init.reason ?? "");
  report.string(6, init.lastQuantity ?? "");
  report.string(7, init.lastPrice ?? "");
  report.uint(8, Number(init.trade ?? 0n));
  report.uint(9, init.aggressor === true ? 1 : 0);
  report.string(10, init.clientRequestId ?? "");
  report.uint(11, init.affected ?? 0);
  report.uint(12, init.remaining ?? 0);
  if (init.createdAt !== undefined) report.field(13, instant(init.createdAt));
  part.length = 0;
  part.header(1, report.length);
  return Buffer.concat([part.bytes(), report.bytes()]);
}

function place({ partition, epoch, entryId, index }: NonNullable<ExecutionReportInit["position"]>): Uint8Array {
  part.length = 0;
  part.uint(1, partition ?? 0);
  part.uint(2, epoch ?? 0);
  part.string(3, entryId ?? "");
  part.uint(4, index ?? 0);
  return part.bytes();
}

function instant({ seconds, nanos }: MessageInitShape<typeof TimestampSchema>): Uint8Array {
  part.length = 0;
  part.uint(1, Number(seconds ?? 0n));
  part.uint(2, nanos ?? 0);
  return part.bytes();
}
