import { create } from "@bufbuild/protobuf";
import { useRef, useState } from "preact/hooks";
import { AckLevel, type Order } from "../../../src/gen/penstock/v1/order_pb.ts";
import { ReplaceOrderRequestSchema } from "../../../src/gen/penstock/v1/order_service_pb.ts";
import type { Failure } from "../api/failure.ts";
import { newClientId } from "../commands/client-id.ts";
import { useDesk } from "../shell/context.ts";
import { described } from "../shell/wording.ts";
import { DecimalField } from "../ui/field.tsx";
import { Modal } from "../ui/modal.tsx";

const FIELDS = ["quantity", "price", "stopPrice", "displayQuantity"] as const;
type Name = (typeof FIELDS)[number];

const LABELS: Readonly<Record<Name, readonly [label: string, field: string]>> = {
  quantity: ["Quantity, with what is filled", "quantity"],
  price: ["Price", "price"],
  stopPrice: ["Stop price", "stop_price"],
  displayQuantity: ["Display quantity", "display_quantity"],
};

/** New values for an order. What is left as it is is not sent. */
export function ReplaceDialog({ order, onClose }: { order: Order; onClose: () => void }) {
  const desk = useDesk();
  const [values, setValues] = useState<Readonly<Record<Name, string>>>(() => ({
    quantity: order.quantity,
    price: order.price,
    stopPrice: order.stopPrice,
    displayQuantity: order.displayQuantity,
  }));
  const [failure, setFailure] = useState<Failure>();
  const [busy, setBusy] = useState(false);
  // Made when the dialog opens; a refusal leaves it free.
  const id = useRef(newClientId());

  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (busy) return;
    const changed = FIELDS.filter((name) => values[name].trim() !== order[name]);
    if (changed.length === 0) return onClose();
    setBusy(true);
    const request = create(ReplaceOrderRequestSchema, {
      clientRequestId: id.current,
      orderId: order.orderId,
      ackLevel: AckLevel.MATCHED,
      ...Object.fromEntries(changed.map((name) => [name, values[name].trim()])),
    });
    const outcome = await desk.replace(request);
    setBusy(false);
    if (outcome.kind !== "refused") return onClose();
    setFailure(outcome.failure);
  };

  return (
    <Modal label="Replace the order" onClose={onClose}>
      <p>{described(order)}. It keeps its turn where its quantity alone goes down.</p>
      <form onSubmit={(event) => void submit(event)} noValidate>
        {FIELDS.filter((name) => order[name] !== "" || name === "quantity").map((name) => (
          <DecimalField
            key={name}
            label={LABELS[name][0]}
            value={values[name]}
            onInput={(value) => setValues({ ...values, [name]: value })}
            error={failure?.fields.get(LABELS[name][1])}
          />
        ))}
        <p role="alert" class="error">
          {failure?.message}
        </p>
        <div class="buttons">
          <button type="button" onClick={onClose}>
            Leave it
          </button>
          <button class="primary" aria-disabled={busy}>
            {busy ? "Replacing…" : "Replace"}
          </button>
        </div>
      </form>
    </Modal>
  );
}
