import { useState } from "preact/hooks";
import { useDesk, useShortcut } from "../shell/context.ts";
import { Modal } from "../ui/modal.tsx";

/** Of one symbol, or of all where it is empty; asked for twice, because it cannot be taken back. */
export function CancelAll({ symbol, open }: { symbol: string; open: number }) {
  const desk = useDesk();
  const [asking, setAsking] = useState(false);
  const what = symbol === "" ? "all open orders" : `all open orders of ${symbol}`;
  useShortcut("x", `Cancel ${what} (asks first)`, () => setAsking(true));
  const confirm = (): void => {
    setAsking(false);
    void desk.cancelAll(symbol);
  };
  return (
    <>
      <button type="button" onClick={() => setAsking(true)} disabled={open === 0}>
        Cancel all…
      </button>
      {asking && (
        <Modal label={`Cancel ${what}?`} onClose={() => setAsking(false)}>
          <p>
            {open === 1 ? "One order is" : `${open} orders are`} open at present. What is filled meanwhile stays filled.
          </p>
          <div class="buttons">
            <button type="button" onClick={() => setAsking(false)}>
              Keep them
            </button>
            <button type="button" class="danger" onClick={confirm}>
              Cancel {what}
            </button>
          </div>
        </Modal>
      )}
    </>
  );
}
