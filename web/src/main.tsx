import { render } from "preact";
import { clientsOf, ownTransport } from "./api/clients.ts";
import { Page } from "./shell/page.tsx";
import { AppContext } from "./shell/context.ts";
import { Keys } from "./shell/keys.ts";
import { Notices } from "./shell/notices.ts";
import { Router } from "./shell/router.ts";
import { Session } from "./shell/session.ts";
import { ThemeChoice } from "./shell/theme.ts";
import "./style/tokens.css";
import "./style/base.css";
import "./style/controls.css";
import "./style/shell.css";
import "./style/trade.css";
import "./style/screens.css";

const clients = clientsOf(ownTransport());
const session = new Session(clients.auth);
const app = { session, router: new Router(), theme: new ThemeChoice(), notices: new Notices(), keys: new Keys() };

render(
  <AppContext.Provider value={app}>
    <Page clients={clients} />
  </AppContext.Provider>,
  document.getElementById("page")!,
);
void session.ask();
