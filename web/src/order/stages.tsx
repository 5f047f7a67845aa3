import { timestampMs, type Timestamp } from "@bufbuild/protobuf/wkt";
import type { GetOrderTraceResponse } from "../../../src/gen/penstock/v1/order_service_pb.ts";
import { useDesk } from "../shell/context.ts";
import { dateTimeOf, duration } from "../shell/wording.ts";

interface Stage {
  readonly name: string;
  readonly what: string;
  readonly done: boolean;
  /** In milliseconds since 1970; undefined where nobody noted it. */
  readonly at: number | undefined;
  readonly clock: string;
}

/** The order's stages, each with its time and whose clock that is. */
export function Stages({ trace }: { trace: GetOrderTraceResponse }) {
  const { sent } = useDesk();
  const orderId = trace.order!.orderId;
  const times = sent.of(orderId);
  const { logged, matched, written } = trace;
  const loggedAt = ms(logged?.at);
  const stages: readonly Stage[] = [
    {
      name: "Sent",
      what: times === undefined ? "Not from this tab, or too long ago to know." : "This page sent it.",
      done: true,
      at: times?.sentAt,
      clock: "this machine’s clock",
    },
    {
      name: "Logged",
      what: "In the log, as durably as the deployment says.",
      done: logged !== undefined,
      at: loggedAt,
      clock: "Redis’ clock",
    },
    {
      name: "Matched",
      what: matched?.events
        ? `The engine made ${matched.events === 1 ? "one event" : `${matched.events} events`} of its entry.`
        : "The engine has worked its entry.",
      done: matched !== undefined,
      at: ms(matched?.seenAt),
      clock: "seen by the server",
    },
    {
      name: "Written",
      what: "The order as it was submitted is committed in Postgres.",
      done: written?.order === true,
      at: ms(written?.orderAt),
      clock: "Postgres’ clock",
    },
    {
      name: "Result written",
      what: "What the engine made of it is committed in Postgres.",
      done: written?.events === true,
      at: ms(written?.eventsAt),
      clock: "Postgres’ clock",
    },
  ];
  return (
    <section class="panel" aria-labelledby="stages-title">
      <h2 id="stages-title">Stages</h2>
      <ol class="stages">
        {stages.map(({ name, what, done, at, clock }) => (
          <li key={name} class={done ? "done" : "waiting"}>
            <span class="mark" aria-hidden="true">
              {done ? "✓" : "…"}
            </span>
            <strong>{name}</strong>
            <span class="what">
              {done ? what : "Not yet."}
              {done && at === undefined && name !== "Sent" && " Its time is not kept."}
            </span>
            <span class="at">
              {at !== undefined && (
                <>
                  <time dateTime={new Date(at).toISOString()}>{dateTimeOf(at)}</time>{" "}
                  <small>
                    {after(name, at, loggedAt)} {clock}
                  </small>
                </>
              )}
            </span>
          </li>
        ))}
      </ol>
      {times !== undefined && (
        <p class="faint">
          From pressing the button until the answer: {duration(times.answeredAt - times.sentAt)}, by this machine’s
          clock. The clocks of the stages may differ.
        </p>
      )}
    </section>
  );
}

function ms(at: Timestamp | undefined): number | undefined {
  return at === undefined ? undefined : timestampMs(at);
}

/** "+12 ms · ": how long behind its entry of the log, as far as clocks agree. */
function after(name: string, at: number, loggedAt: number | undefined): string {
  if (loggedAt === undefined || name === "Sent" || name === "Logged") return "";
  const behind = at - loggedAt;
  return `${behind < 0 ? "−" : "+"}${duration(Math.abs(behind))} ·`;
}
