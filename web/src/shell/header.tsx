import { useEffect, useState } from "preact/hooks";
import type { LiveState } from "../live/live.ts";
import { useApp, useDesk, useShortcut } from "./context.ts";
import { type Route, hrefOf } from "./router.ts";
import { isAdmin } from "./session.ts";
import { openHelp } from "./shortcut-help.tsx";
import { clockTimeOf, roleName } from "./wording.ts";

export function Header() {
  const { router, session, theme, notices } = useApp();
  const { account, role } = useDesk();
  const { screen } = router.route.value;
  const screens: readonly { name: string; key: string; route: Route }[] = [
    { name: "Trade", key: "1", route: { screen: "trade", symbol: undefined } },
    ...(isAdmin(role) ? [{ name: "Pipeline", key: "2", route: { screen: "pipeline" } as const }] : []),
    { name: "Replay", key: "3", route: { screen: "replay", symbol: undefined, entry: undefined } },
  ];
  const signOut = async (): Promise<void> => {
    const failure = await session.signOut();
    if (failure !== undefined) notices.say("bad", failure.message);
  };
  return (
    <header class="top">
      <span class="brand">Penstock</span>
      <nav aria-label="Screens">
        {screens.map(({ name, key, route }) => (
          <ScreenLink key={name} name={name} shortcut={key} route={route} current={screen === route.screen} />
        ))}
      </nav>
      <Connection />
      <div class="tools">
        <span class="who">
          {account} <small>{roleName(role)}</small>
        </span>
        <button type="button" class="quiet" onClick={() => theme.next()} title="Light, dark, or as the machine has it">
          <span aria-hidden="true">◐</span> <span class="wide-only">{theme.theme.value}</span>
          <span class="hidden">theme: {theme.theme.value}</span>
        </button>
        <button type="button" class="quiet" onClick={openHelp} aria-label="Keyboard shortcuts and about">
          ?
        </button>
        <button type="button" class="quiet" onClick={() => void signOut()}>
          Sign out
        </button>
      </div>
    </header>
  );
}

function ScreenLink(props: { name: string; shortcut: string; route: Route; current: boolean }) {
  const { name, shortcut, route, current } = props;
  const { router } = useApp();
  useShortcut(shortcut, `Go to ${name}`, () => router.go(route));
  return (
    <a href={hrefOf(route)} aria-current={current ? "page" : undefined}>
      {name}
    </a>
  );
}

/** Whether what one sees is what is. */
function Connection() {
  const { live } = useDesk();
  const state = live.state.value;
  const { tone, text } = useWords(state);
  return (
    <div class={`connection ${tone}`}>
      <span class="dot" aria-hidden="true" />
      <span>{text}</span>
      {state.mode === "reconnecting" && (
        <button type="button" class="quiet" onClick={live.retryNow}>
          Retry now
        </button>
      )}
      {/* Not the seconds, which would be spoken one by one. */}
      <span role="status" class="hidden">
        {state.mode === "reconnecting" ? `Disconnected: ${state.why} Reconnecting.` : WORDS[state.mode]}
      </span>
    </div>
  );
}

const WORDS = { idle: "Not connected", connecting: "Connecting", live: "Live", reconnecting: "Reconnecting" } as const;

function useWords(state: LiveState): { tone: string; text: string } {
  const { live } = useDesk();
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (state.mode !== "reconnecting") return undefined;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [state]);
  if (state.mode !== "reconnecting") return { tone: state.mode, text: WORDS[state.mode] };
  const seconds = Math.max(0, Math.ceil((state.retryAt - now) / 1_000));
  const seen = live.heardAt === 0 ? "" : ` · last seen ${clockTimeOf(live.heardAt)}`;
  return { tone: "reconnecting", text: `${seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting"}${seen}` };
}
