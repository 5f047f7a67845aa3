import { timestampMs } from "@bufbuild/protobuf/wkt";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Instrument } from "../../../src/gen/penstock/v1/instrument_pb.ts";
import type { Position } from "../../../src/gen/penstock/v1/order_pb.ts";
import { useApp, useDesk, useShortcut } from "../shell/context.ts";
import { dateTime } from "../shell/wording.ts";
import { Empty, Loading, Stale } from "../ui/states.tsx";
import { BookAt } from "./book-at.tsx";
import { Cursor, entryOf, positionOf } from "./cursor.ts";
import { EntryEffects } from "./entry-effects.tsx";
import { TimeChoice } from "./time-choice.tsx";

/** `entry`: where to begin; else at the newest. */
export function ReplayScreen({ symbol, entry }: { symbol: string | undefined; entry: string | undefined }) {
  const { router } = useApp();
  const desk = useDesk();
  const instruments = desk.instruments.value;
  useEffect(() => {
    const first = instruments?.[0];
    if (symbol !== undefined || first === undefined) return;
    router.go({ screen: "replay", symbol: first.symbol, entry: undefined }, { replace: true });
  }, [symbol, instruments, router]);
  if (instruments === undefined) return <Loading what="instruments" trouble={desk.instrumentTrouble.value} />;
  const instrument = instruments.find((one) => one.symbol === symbol);
  return (
    <>
      <div class="head">
        <h1>Replay</h1>
        <label class="inline">
          Symbol{" "}
          <select
            value={symbol ?? ""}
            onChange={({ currentTarget }) =>
              router.go({ screen: "replay", symbol: currentTarget.value, entry: undefined })
            }
          >
            {instruments.map((one) => (
              <option key={one.symbol}>{one.symbol}</option>
            ))}
          </select>
        </label>
      </div>
      {instrument === undefined && <Empty>Choose a symbol.</Empty>}
      {instrument !== undefined && <History key={instrument.symbol} instrument={instrument} entry={entry} />}
    </>
  );
}

function History({ instrument, entry }: { instrument: Instrument; entry: string | undefined }) {
  const { symbol } = instrument;
  const { router } = useApp();
  const desk = useDesk();
  const cursor = useMemo(() => new Cursor(symbol, desk.clients.market), [symbol, desk]);
  useEffect(() => () => cursor.close(), [cursor]);
  const answer = cursor.answer.value;
  const failure = cursor.failure.value;
  const here = answer?.position === undefined ? undefined : entryOf(answer.position);
  // Kept apart from the answer: the slider stands where it was put, and the entry lies at or before it.
  const [time, setTime] = useState<number>();

  useEffect(() => {
    const position = entry === undefined ? undefined : positionOf(entry);
    if (position === undefined) cursor.ask({ kind: "now" });
    else if (entry !== here) cursor.ask({ kind: "position", position });
  }, [cursor, entry]);
  useEffect(() => {
    if (here !== undefined) router.go({ screen: "replay", symbol, entry: here }, { replace: true });
    if (answer?.at !== undefined) setTime(timestampMs(answer.at));
  }, [router, symbol, here]);

  const step = (position: Position | undefined): void => {
    if (position !== undefined) cursor.ask({ kind: "position", position });
  };
  useShortcut(",", "Replay: one entry back", () => step(answer?.previous));
  useShortcut(".", "Replay: one entry on", () => step(answer?.next));

  return (
    <>
      <section class="panel controls" aria-label="Where in the log">
        <div class="buttons">
          <button type="button" onClick={() => step(answer?.previous)} aria-disabled={answer?.previous === undefined}>
            <span aria-hidden="true">◀ </span>Back
          </button>
          <button type="button" onClick={() => step(answer?.next)} aria-disabled={answer?.next === undefined}>
            On<span aria-hidden="true"> ▶</span>
          </button>
          <button type="button" onClick={() => cursor.ask({ kind: "now" })}>
            Newest
          </button>
        </div>
        <p class="place" role="status">
          {answer === undefined && "…"}
          {answer !== undefined && here === undefined && "Before the first entry of this symbol: the book is empty."}
          {answer?.position !== undefined && (
            <>
              <strong>{dateTime(answer.at)}</strong> · entry {answer.position.entryId} · version{" "}
              {String(answer.book?.version ?? 0n)}
            </>
          )}
          {cursor.working.value && <span class="faint"> · working it out…</span>}
        </p>
        <TimeChoice
          time={time}
          onChange={(at) => {
            setTime(at);
            cursor.ask({ kind: "time", at });
          }}
        />
      </section>
      {failure !== undefined && answer !== undefined && <Stale>Still at the place before. {failure.message}</Stale>}
      {answer === undefined && <Loading what="the book" trouble={failure?.message} />}
      {answer !== undefined && (
        <div class="replayed">
          <BookAt answer={answer} instrument={instrument} />
          <EntryEffects answer={answer} instrument={instrument} />
        </div>
      )}
    </>
  );
}
