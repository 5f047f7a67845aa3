import { useEffect, useRef, useState } from "preact/hooks";
import type { Instrument } from "../../../src/gen/penstock/v1/instrument_pb.ts";
import {
  AckLevel,
  OrderType,
  SelfTradePrevention,
  Side,
  type TimeInForce,
} from "../../../src/gen/penstock/v1/order_pb.ts";
import { type Draft, type Ticket, fieldsOf, timesOf } from "../commands/ticket.ts";
import type { BookTopic } from "../live/book-topic.ts";
import { isDecimal } from "../live/decimal.ts";
import { useDesk, useShortcut } from "../shell/context.ts";
import { mayTrade } from "../shell/session.ts";
import { ackLevelName, preventionName, sideName, timeInFull, timeName, typeName } from "../shell/wording.ts";
import { Check, Choice, DecimalField, Field, Segments } from "../ui/field.tsx";
import { Empty } from "../ui/states.tsx";
import { TicketOutcome } from "./ticket-outcome.tsx";

/** The longest double click of the common desktops: a second press within it, with nothing changed, was meant for the order before. */
const DOUBLE_CLICK_MS = 500;

const PREVENTION_OPTIONS = [
  SelfTradePrevention.UNSPECIFIED,
  SelfTradePrevention.CANCEL_NEWEST,
  SelfTradePrevention.CANCEL_OLDEST,
  SelfTradePrevention.CANCEL_BOTH,
  SelfTradePrevention.DECREMENT,
].map((value) => ({ value, name: preventionName(value) }));

const ACK_OPTIONS = [AckLevel.MATCHED, AckLevel.LOGGED].map((value) => ({ value, name: ackLevelName(value) }));

interface TicketProps {
  readonly instrument: Instrument;
  readonly ticket: Ticket;
  readonly book: BookTopic;
}

export function TicketPanel({ instrument, ticket, book }: TicketProps) {
  const { role } = useDesk();
  return (
    <section class="panel ticket" aria-labelledby="ticket-title">
      <h2 id="ticket-title">
        Order <span class="faint">{instrument.symbol}</span>
      </h2>
      {mayTrade(role) ? (
        <TicketForm instrument={instrument} ticket={ticket} book={book} />
      ) : (
        <Empty>This account may look on, and not trade.</Empty>
      )}
    </section>
  );
}

function TicketForm({ instrument, ticket, book }: TicketProps) {
  const desk = useDesk();
  const draft = ticket.draft.value;
  const outcome = ticket.outcome.value;
  const pending = desk.outbox.pending.value.find(({ id }) => id === ticket.id);
  // Not while it is being sent for the first time, which takes milliseconds: who types would lose their place.
  const frozen = pending !== undefined && (pending.tries > 0 || pending.resumed);
  const has = fieldsOf(draft);
  const fields = outcome?.kind === "refused" ? outcome.failure.fields : new Map<string, string>();
  const quantity = useRef<HTMLInputElement>(null);
  const form = useRef<HTMLFormElement>(null);
  const answeredAt = useRef(-Infinity);
  const [missing, setMissing] = useState(false);

  const begin = (side: Side): void => {
    if (!frozen) ticket.change({ side });
    quantity.current?.focus();
  };
  useShortcut("b", "Fill in an order to buy", () => begin(Side.BUY));
  useShortcut("s", "Fill in an order to sell", () => begin(Side.SELL));

  const change = (fields: Partial<Draft>): void => {
    setMissing(false);
    ticket.change(fields);
  };
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const isSecond = outcome !== undefined && performance.now() - answeredAt.current < DOUBLE_CLICK_MS;
    if (pending !== undefined || isSecond) return;
    if (draft.quantity.trim() === "") return setMissing(true);
    await desk.submit(ticket);
    answeredAt.current = performance.now();
  };
  useEffect(() => {
    if (fields.size > 0) form.current?.querySelector<HTMLElement>("[aria-invalid]")?.focus();
  }, [outcome]);

  const decimal = (label: string, name: "price" | "stopPrice" | "displayQuantity", field: string, hint?: string) => (
    <DecimalField
      label={label}
      value={draft[name]}
      onInput={(value) => change({ [name]: value })}
      error={fields.get(field) ?? typed(draft[name])}
      hint={hint}
      readOnly={frozen}
    />
  );

  return (
    <form ref={form} onSubmit={(event) => void submit(event)} onKeyDown={withoutRepeats} noValidate>
      <Segments
        label="Side"
        value={draft.side}
        onChange={(side) => change({ side })}
        disabled={frozen}
        options={[
          { value: Side.BUY, name: "▲ Buy", class: "buy" },
          { value: Side.SELL, name: "▼ Sell", class: "sell" },
        ]}
      />
      <div class="pair">
        <Choice
          label="Type"
          value={draft.type}
          onChange={(type: OrderType) => change({ type })}
          options={typesOf(instrument)}
          error={fields.get("type")}
          disabled={frozen}
        />
        <Choice
          label="Time in force"
          value={draft.timeInForce}
          onChange={(timeInForce: TimeInForce) => change({ timeInForce })}
          options={timesFor(instrument, draft.type)}
          hint={timeInFull(draft.timeInForce)}
          error={fields.get("time_in_force")}
          disabled={frozen}
        />
      </div>
      <DecimalField
        label="Quantity"
        inputRef={quantity}
        value={draft.quantity}
        onInput={(value) => change({ quantity: value })}
        error={fields.get("quantity") ?? (missing ? "is required" : typed(draft.quantity))}
        hint={`in lots of ${instrument.lotSize}`}
        readOnly={frozen}
      />
      {has.price && decimal("Price", "price", "price", `in ticks of ${instrument.tickSize}`)}
      {has.price && <BestPrices book={book} onTake={(price) => change({ price })} disabled={frozen} />}
      {has.stopPrice && decimal("Stop price", "stopPrice", "stop_price", "triggered by a trade at it or beyond")}
      {has.expireTime && (
        <Field
          label="Expires at (your time)"
          type="datetime-local"
          step="1"
          value={draft.expireTime}
          onInput={(expireTime) => change({ expireTime })}
          error={fields.get("expire_time")}
          readOnly={frozen}
        />
      )}
      <details open={["display_quantity", "post_only", "self_trade_prevention"].some((field) => fields.has(field))}>
        <summary>More</summary>
        {has.displayQuantity &&
          decimal("Display quantity", "displayQuantity", "display_quantity", "how much of it the book shows")}
        {has.postOnly && (
          <Check
            label="Post only: refuse it rather than take"
            checked={draft.postOnly}
            onChange={(postOnly) => change({ postOnly })}
            error={fields.get("post_only")}
            disabled={frozen}
          />
        )}
        <Choice
          label="Self-trade prevention"
          value={draft.selfTradePrevention}
          onChange={(selfTradePrevention: SelfTradePrevention) => change({ selfTradePrevention })}
          options={PREVENTION_OPTIONS}
          error={fields.get("self_trade_prevention")}
          disabled={frozen}
        />
        <Choice
          label="Answer when it is"
          value={draft.ackLevel}
          onChange={(ackLevel: AckLevel) => change({ ackLevel })}
          options={ACK_OPTIONS}
          error={fields.get("ack_level")}
          disabled={frozen}
        />
      </details>
      <button class={`send ${draft.side === Side.BUY ? "buy" : "sell"}`} aria-disabled={pending !== undefined}>
        {sideName(draft.side)} {draft.quantity} {instrument.symbol}{" "}
        {has.price ? (draft.price === "" ? "" : `at ${draft.price}`) : typeName(draft.type).toLowerCase()}
      </button>
      <TicketOutcome pending={pending} outcome={outcome} />
    </form>
  );
}

/** A key that is held down would send what it sent before, and again. */
function withoutRepeats(event: KeyboardEvent): void {
  if (event.key === "Enter" && event.repeat) event.preventDefault();
}

function typed(text: string): string | undefined {
  return text.trim() === "" || isDecimal(text.trim()) ? undefined : "must be a number like 12.5";
}

function typesOf({ orderTypes }: Instrument) {
  const all = [OrderType.LIMIT, OrderType.MARKET, OrderType.STOP, OrderType.STOP_LIMIT];
  const taken = orderTypes.length === 0 ? all : all.filter((type) => orderTypes.includes(type));
  return taken.map((value) => ({ value, name: typeName(value) }));
}

function timesFor({ timesInForce }: Instrument, type: OrderType) {
  const possible: readonly TimeInForce[] = timesOf(type);
  const taken = timesInForce.length === 0 ? possible : possible.filter((time) => timesInForce.includes(time));
  return taken.map((value) => ({ value, name: timeName(value) }));
}

function BestPrices(props: { book: BookTopic; onTake: (price: string) => void; disabled: boolean }) {
  const { book: topic, onTake, disabled } = props;
  void topic.frames.drawn;
  const bid = topic.book?.bids[0]?.price;
  const ask = topic.book?.asks[0]?.price;
  return (
    <div class="pair best">
      <button type="button" disabled={disabled || bid === undefined} onClick={() => onTake(bid!)}>
        Bid {bid ?? "–"}
      </button>
      <button type="button" disabled={disabled || ask === undefined} onClick={() => onTake(ask!)}>
        Ask {ask ?? "–"}
      </button>
    </div>
  );
}
