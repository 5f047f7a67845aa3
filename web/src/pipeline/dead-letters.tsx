import { useEffect, useState } from "preact/hooks";
import { type DeadLetter, DeadLetterState } from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import { type Failure, failureOf } from "../api/failure.ts";
import { useApp, useDesk } from "../shell/context.ts";
import { dateTime } from "../shell/wording.ts";
import { Segments } from "../ui/field.tsx";
import { Broken, Empty, Loading } from "../ui/states.tsx";
import { LetterDialog } from "./letter-dialog.tsx";
import { kindName, placeOf, stateName } from "./letter-words.ts";

const PAGE = 100;

const SHOWN = [DeadLetterState.OPEN, DeadLetterState.REDRIVEN, DeadLetterState.DISCARDED].map(
  (value: DeadLetterState) => ({
    value,
    name: stateName(value),
  }),
);

/** What could not be written, and what an admin does about it. `open`: how many are, as the pipeline tells. */
export function DeadLetters({ open }: { open: bigint | undefined }) {
  const { notices } = useApp();
  const { clients } = useDesk();
  const [state, setState] = useState<DeadLetterState>(DeadLetterState.OPEN);
  const [round, setRound] = useState(0);
  const [shown, setShown] = useState<DeadLetter>();
  const { letters, more, failure, loadMore } = useLetters(state, `${open} ${round}`);

  const redrive = async (letter: DeadLetter): Promise<void> => {
    try {
      const answer = await clients.admin.redriveDeadLetter({ id: letter.id });
      const done = answer.deadLetter?.state === DeadLetterState.REDRIVEN;
      const rest =
        answer.newDeadLetters === 0 ? "" : ` ${answer.newDeadLetters} of its parts are dead letters of their own now.`;
      if (done) notices.say("good", `Dead letter ${letter.id} is written.${rest}`);
      else notices.say("bad", `Dead letter ${letter.id} was refused again: ${answer.deadLetter?.reason ?? ""}`);
    } catch (error) {
      notices.say("bad", failureOf(error).message);
    }
    setRound((count) => count + 1);
  };

  return (
    <section class="panel letters" aria-labelledby="letters-title">
      <div class="head">
        <h2 id="letters-title">Dead letters</h2>
        <Segments label="Which dead letters" value={state} options={SHOWN} onChange={setState} />
      </div>
      {letters === undefined && failure === undefined && <Loading what="dead letters" />}
      {failure !== undefined && <Broken onRetry={() => setRound(round + 1)}>{failure.message}</Broken>}
      {letters?.length === 0 && (
        <Empty>
          {state === DeadLetterState.OPEN ? "None is open: all that was logged is written." : "There is none."}
        </Empty>
      )}
      {letters !== undefined && letters.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Dead letters, newest first">
          <table>
            <thead>
              <tr>
                <th scope="col" class="number">
                  No.
                </th>
                <th scope="col">Since</th>
                <th scope="col">Kind</th>
                <th scope="col">Place</th>
                <th scope="col">Why</th>
                <th scope="col" class="number">
                  Tries
                </th>
                <th scope="col">Do</th>
              </tr>
            </thead>
            <tbody>
              {letters.map((letter) => (
                <tr key={String(letter.id)}>
                  <td class="number">{String(letter.id)}</td>
                  <td>{dateTime(letter.createdAt, { ms: false })}</td>
                  <td>{kindName(letter.kind)}</td>
                  <td>{placeOf(letter)}</td>
                  <td class="reason">{letter.reason}</td>
                  <td class="number">{letter.attempts}</td>
                  <td class="actions">
                    <button
                      type="button"
                      class="small"
                      onClick={() => setShown(letter)}
                      aria-label={`Show ${letter.id}`}
                    >
                      Show
                    </button>
                    {letter.state === DeadLetterState.OPEN && (
                      <button
                        type="button"
                        class="small"
                        onClick={() => void redrive(letter)}
                        aria-label={`Redrive ${letter.id}`}
                      >
                        Redrive
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          {more && (
            <button type="button" onClick={loadMore}>
              Load more
            </button>
          )}
        </div>
      )}
      {shown !== undefined && (
        <LetterDialog
          letter={shown}
          onClose={() => setShown(undefined)}
          onChange={() => {
            setShown(undefined);
            setRound(round + 1);
          }}
        />
      )}
    </section>
  );
}

/** Of a state; read anew when `round` changes. */
function useLetters(state: DeadLetterState, round: string) {
  const { clients } = useDesk();
  const [letters, setLetters] = useState<readonly DeadLetter[]>();
  const [next, setNext] = useState("");
  const [failure, setFailure] = useState<Failure>();
  const load = async (pageToken: string, signal?: AbortSignal): Promise<void> => {
    try {
      const request = { state, pageSize: PAGE, pageToken };
      const answer = await clients.admin.listDeadLetters(request, signal === undefined ? {} : { signal });
      setLetters((before) => [...(pageToken === "" ? [] : (before ?? [])), ...answer.deadLetters]);
      setNext(answer.nextPageToken);
      setFailure(undefined);
    } catch (error) {
      if (signal?.aborted !== true) setFailure(failureOf(error));
    }
  };
  useEffect(() => {
    const gone = new AbortController();
    void load("", gone.signal);
    return () => gone.abort();
  }, [state, round]);
  return { letters, failure, more: next !== "", loadMore: () => void load(next) };
}
