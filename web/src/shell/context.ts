import { createContext } from "preact";
import { useContext, useEffect, useRef } from "preact/hooks";
import type { Desk } from "./desk.ts";
import type { Keys } from "./keys.ts";
import type { Notices } from "./notices.ts";
import type { Router } from "./router.ts";
import type { Session } from "./session.ts";
import type { ThemeChoice } from "./theme.ts";

/** What the whole page shares. */
export interface App {
  readonly session: Session;
  readonly router: Router;
  readonly theme: ThemeChoice;
  readonly notices: Notices;
  readonly keys: Keys;
}

export const AppContext = createContext<App | undefined>(undefined);
export const DeskContext = createContext<Desk | undefined>(undefined);

export function useApp(): App {
  return useContext(AppContext)!;
}

/** Only below what is shown to somebody who is signed in. */
export function useDesk(): Desk {
  return useContext(DeskContext)!;
}

/** While the component stands. */
export function useShortcut(key: string, what: string, run: () => void): void {
  const { keys } = useApp();
  const latest = useRef(run);
  latest.current = run;
  useEffect(() => keys.add({ key, what, run: () => latest.current() }), [keys, key, what]);
}
