import { useEffect, useState } from "preact/hooks";
import {
  type DeadLetter,
  DeadLetterState,
  type GetDeadLetterResponse,
} from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import { type Failure, failureOf } from "../api/failure.ts";
import { useApp, useDesk } from "../shell/context.ts";
import { dateTime } from "../shell/wording.ts";
import { Field } from "../ui/field.tsx";
import { Modal } from "../ui/modal.tsx";
import { Loading } from "../ui/states.tsx";
import { kindName, placeOf } from "./letter-words.ts";

/** Bytes of it that are shown: what a person looks at. */
const SHOWN_BYTES = 512;

/** One with what can be read of it; where it is open it can be discarded, with a reason. */
export function LetterDialog(props: { letter: DeadLetter; onClose: () => void; onChange: () => void }) {
  const { letter, onClose, onChange } = props;
  const { notices } = useApp();
  const { clients } = useDesk();
  const [whole, setWhole] = useState<GetDeadLetterResponse>();
  const [reason, setReason] = useState("");
  const [failure, setFailure] = useState<Failure>();
  useEffect(() => {
    const gone = new AbortController();
    clients.admin.getDeadLetter({ id: letter.id }, { signal: gone.signal }).then(setWhole, (error: unknown) => {
      if (!gone.signal.aborted) setFailure(failureOf(error));
    });
    return () => gone.abort();
  }, [clients, letter]);

  const discard = async (event: Event): Promise<void> => {
    event.preventDefault();
    try {
      await clients.admin.discardDeadLetter({ id: letter.id, reason: reason.trim() });
      notices.say("good", `Dead letter ${letter.id} is discarded.`);
      onChange();
    } catch (error) {
      setFailure(failureOf(error));
    }
  };

  return (
    <Modal label={`Dead letter ${letter.id}`} onClose={onClose}>
      <p>
        {kindName(letter.kind)} · {placeOf(letter)} · since {dateTime(letter.createdAt, { ms: false })}
      </p>
      <p>{letter.reason}</p>
      {letter.state !== DeadLetterState.OPEN && (
        <p class="faint">
          Settled by {letter.settledBy} at {dateTime(letter.settledAt, { ms: false })}. {letter.note}
        </p>
      )}
      {whole === undefined && failure === undefined && <Loading what="its content" />}
      {whole !== undefined && (
        <>
          {whole.advice !== "" && <p class="warning">{whole.advice}</p>}
          <dl class="facts">
            {Object.entries(whole.fields).map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </div>
            ))}
          </dl>
          <details>
            <summary>Its {whole.raw.length} bytes</summary>
            <pre tabIndex={0}>{hexOf(whole.raw)}</pre>
          </details>
        </>
      )}
      <p role="alert" class="error">
        {failure?.message}
      </p>
      {letter.state === DeadLetterState.OPEN && (
        <form onSubmit={(event) => void discard(event)}>
          <Field
            label="Why it will not be written"
            value={reason}
            onInput={setReason}
            error={failure?.fields.get("reason")}
            required
          />
          <div class="buttons">
            <button type="button" onClick={onClose}>
              Leave it
            </button>
            <button class="danger">Discard it</button>
          </div>
        </form>
      )}
      {letter.state !== DeadLetterState.OPEN && (
        <div class="buttons">
          <button type="button" onClick={onClose}>
            Close
          </button>
        </div>
      )}
    </Modal>
  );
}

/** Sixteen a line. */
function hexOf(bytes: Uint8Array): string {
  const lines: string[] = [];
  const shown = bytes.subarray(0, SHOWN_BYTES);
  for (let at = 0; at < shown.length; at += 16) {
    lines.push([...shown.subarray(at, at + 16)].map((byte) => byte.toString(16).padStart(2, "0")).join(" "));
  }
  if (bytes.length > SHOWN_BYTES) lines.push(`and ${bytes.length - SHOWN_BYTES} more`);
  return lines.join("\n");
}
