import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Role } from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import type { Clients } from "../api/clients.ts";
import { OrderScreen } from "../order/order-screen.tsx";
import { PipelineScreen } from "../pipeline/pipeline-screen.tsx";
import { ReplayScreen } from "../replay/replay-screen.tsx";
import { TradeScreen } from "../trade/trade-screen.tsx";
import { Empty, Loading } from "../ui/states.tsx";
import { DeskContext, useApp } from "./context.ts";
import { Desk } from "./desk.ts";
import { Header } from "./header.tsx";
import { NoticeList } from "./notice-list.tsx";
import { hrefOf } from "./router.ts";
import { ShortcutHelp } from "./shortcut-help.tsx";
import { SignIn } from "./sign-in.tsx";

export function Page({ clients }: { clients: Clients }) {
  const { session } = useApp();
  const state = session.state.value;
  return (
    <>
      {state.mode === "asking" && (
        <main class="alone">
          <Loading what="Penstock" trouble={state.trouble} />
        </main>
      )}
      {state.mode === "none" && <SignIn ended={state.ended} />}
      {state.mode === "signed-in" && (
        <SignedIn key={`${state.account} ${state.role}`} clients={clients} account={state.account} role={state.role} />
      )}
      <NoticeList />
    </>
  );
}

function SignedIn({ clients, account, role }: { clients: Clients; account: string; role: Role }) {
  const { session, notices } = useApp();
  const desk = useMemo(
    () => new Desk({ clients, account, role, notices, store: sessionStorage, onSessionEnd: session.ended }),
    [clients, account, role, notices, session],
  );
  useEffect(() => {
    desk.start();
    return () => desk.close();
  }, [desk]);
  return (
    <DeskContext.Provider value={desk}>
      <a class="skip" href="#main" onClick={skipToMain}>
        Skip to the content
      </a>
      <Header />
      <Screen />
      <ShortcutHelp />
    </DeskContext.Provider>
  );
}

/** The address names the screen, so that a link to an anchor would leave it. */
function skipToMain(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

const TITLES = {
  trade: "Trade",
  order: "Order",
  pipeline: "Pipeline",
  replay: "Replay",
  unknown: "Not found",
} as const;

function Screen() {
  const { router } = useApp();
  const route = router.route.value;
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  useEffect(() => {
    document.title = `${TITLES[route.screen]} · Penstock`;
    // Who comes by a link hears where they are; a page that was just opened is read from its top.
    if (!isFirst.current) main.current?.focus({ preventScroll: true });
    isFirst.current = false;
  }, [route.screen]);
  return (
    <main id="main" ref={main} tabIndex={-1} class={route.screen} aria-label={TITLES[route.screen]}>
      {route.screen === "trade" && <TradeScreen symbol={route.symbol} />}
      {route.screen === "order" && <OrderScreen key={route.orderId} orderId={route.orderId} />}
      {route.screen === "pipeline" && <PipelineScreen />}
      {route.screen === "replay" && <ReplayScreen symbol={route.symbol} entry={route.entry} />}
      {route.screen === "unknown" && (
        <Empty>
          There is nothing at this address. <a href={hrefOf({ screen: "trade", symbol: undefined })}>Go to trading</a>
        </Empty>
      )}
    </main>
  );
}
