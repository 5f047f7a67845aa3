import { type ReadonlySignal, signal } from "@preact/signals";

/** Where in the page one is. It stands behind the # of the address, so that the server serves one page alone. */
export type Route =
  | { readonly screen: "trade"; readonly symbol: string | undefined }
  | { readonly screen: "order"; readonly orderId: string }
  | { readonly screen: "pipeline" }
  /** `entry`: "partition/epoch/entry ID" of a place in the log. */
  | { readonly screen: "replay"; readonly symbol: string | undefined; readonly entry: string | undefined }
  | { readonly screen: "unknown" };

export function hrefOf(route: Route): string {
  switch (route.screen) {
    case "trade":
      return route.symbol === undefined ? "#/trade" : `#/trade/${encodeURIComponent(route.symbol)}`;
    case "order":
      return `#/order/${encodeURIComponent(route.orderId)}`;
    case "pipeline":
      return "#/pipeline";
    case "replay": {
      const symbol = route.symbol === undefined ? "" : `/${encodeURIComponent(route.symbol)}`;
      return `#/replay${symbol}${route.entry === undefined ? "" : `/${encodeURIComponent(route.entry)}`}`;
    }
    case "unknown":
      return "#/";
    default:
      return route satisfies never;
  }
}

export function routeOf(hash: string): Route {
  const [screen = "", first, second] = hash
    .replace(/^#?\/?/, "")
    .split("/")
    .map(decoded);
  switch (screen) {
    case "":
    case "trade":
      return { screen: "trade", symbol: first };
    case "order":
      return { screen: "order", orderId: first ?? "" };
    case "pipeline":
      return { screen: "pipeline" };
    case "replay":
      return { screen: "replay", symbol: first, entry: second };
    default:
      return { screen: "unknown" };
  }
}

/** What people type into an address is not always well formed. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Follows the address. */
export class Router {
  readonly #route = signal<Route>(routeOf(location.hash));

  constructor() {
    addEventListener("hashchange", () => {
      this.#route.value = routeOf(location.hash);
    });
  }

  get route(): ReadonlySignal<Route> {
    return this.#route;
  }

  go(route: Route, { replace = false } = {}): void {
    if (replace) history.replaceState(null, "", hrefOf(route));
    else history.pushState(null, "", hrefOf(route));
    this.#route.value = route;
  }
}
