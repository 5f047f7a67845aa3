import { startServer } from "./child-server.ts";
import type { Target } from "./measure/measure.ts";

/** A no-op behind the same door (noop/main.ts): what comes on top of it is an order pipeline's. */
export async function startFloor(token: string): Promise<{ target: Target; stop: () => Promise<void> }> {
  const { pid, port, stop } = await startServer("noop/main.ts");
  const target: Target = {
    name: "floor: a no-op behind the same door",
    port,
    token,
    databaseUrl: undefined,
    processes: () => ({ server: [pid] }),
    settled: async () => {},
  };
  return { target, stop };
}
