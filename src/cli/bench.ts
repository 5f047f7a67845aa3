import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

import { exitCodes } from "../runtime/errors.ts";

const program = join(import.meta.dirname, "..", "..", "bench", "run.ts");

/**
 * Runs the bench in a process of its own, as `npm run bench` does, so that its load is not measured together with this
 * command line. Returns its exit code.
 */
export async function bench(args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [program, ...args], { stdio: "inherit" });
  // The terminal's Ctrl-C reaches the bench too, which then stops its servers; this process waits for that.
  const wait = (): void => undefined;
  const pass = (): void => void child.kill("SIGTERM");
  process.on("SIGINT", wait).on("SIGTERM", pass);
  try {
    const [code] = (await once(child, "exit")) as [number | null];
    return code ?? exitCodes.failed;
  } finally {
    process.off("SIGINT", wait).off("SIGTERM", pass);
  }
}
