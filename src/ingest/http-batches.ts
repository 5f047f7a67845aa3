import { SubmitOrdersRequestSchema } from "../gen/penstock/v1/order_service_pb.ts";
import { COMPRESSIONS } from "./compression.ts";
import { invalidArgument, RequestError } from "./errors.ts";
import { countOrders } from "./submit-codec.ts";
import { MAX_ORDERS, validateBatchSize } from "./validation/requests.ts";

/** What gRPC-Web puts before a message: flags, of which the lowest says that it is packed, and the length. */
const ENVELOPE_BYTES = 5;
const PACKED = 1;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BRACE = 0x7b;

/**
 * Looks into the body of a SubmitOrders before connect does. Connect makes an object of each order, however many: a megabyte
 * holds half a million empty ones, which held up the process for 640 ms, and packed it has one kilobyte. (So what
 * is packed is unpacked twice, in another thread.)
 *
 * Rejects where there are more orders than there may be, with a RequestError, and where the body cannot be unpacked, with
 * connect's own error. What is no request otherwise is left to connect.
 */
export async function boundOrders(body: Buffer, header: Headers, messageBytes: number): Promise<void> {
  const type = header.get("content-type")?.toLowerCase() ?? "";
  const web = type.startsWith("application/grpc-web");
  if (web && body.length < ENVELOPE_BYTES) return;
  if (web && body.length - ENVELOPE_BYTES > body.readUInt32BE(1)) {
    // Connect would read them all before it refuses them.
    throw new RequestError("INVALID_ARGUMENT", "a request has one message");
  }
  const isPacked = !web || (body[0]! & PACKED) !== 0;
  const name = header.get(web ? "grpc-encoding" : "content-encoding");
  const packing = isPacked ? COMPRESSIONS.find((compression) => compression.name === name) : undefined;
  const sent = web ? body.subarray(ENVELOPE_BYTES) : body;
  const message = packing === undefined ? sent : Buffer.from(await packing.decompress(sent, messageBytes));
  const orders = type.includes("json") ? countInJson(message) : countInBinary(message);
  // Whether there is one at all, the service tells.
  const faults = validateBatchSize(Math.max(1, orders));
  if (faults !== undefined) throw invalidArgument(faults);
}

function countInBinary(message: Buffer): number {
  try {
    return countOrders(message);
  } catch {
    throw new RequestError("INVALID_ARGUMENT", `not a ${SubmitOrdersRequestSchema.typeName}`);
  }
}

/** All objects but the outermost are orders: no field of an order is one. Counted up to the first too many. */
function countInJson(json: Buffer): number {
  let objects = 0;
  let quoted = false;
  for (let i = 0; i < json.length && objects <= MAX_ORDERS + 1; i++) {
    const byte = json[i];
    if (byte === QUOTE) quoted = !quoted;
    else if (quoted && byte === BACKSLASH) i++;
    else if (!quoted && byte === BRACE) objects++;
  }
  return objects - 1;
}
