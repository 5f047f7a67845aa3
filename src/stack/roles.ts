import { join } from "node:path";

import { LogFile } from "./log-file.ts";
import { RoleProcess } from "./role-process.ts";

/** What all roles of a stack have in common. */
export interface RoleFrame {
  /** Node runs it with the role's name as its argument. */
  readonly program: string;
  /** Asked at each start: the servers' addresses are known only then. */
  readonly env: () => NodeJS.ProcessEnv;
  readonly stateFolder: string;
  readonly bind: string;
  readonly drainMs: number;
  readonly onSpawn: (name: string, pid: number) => void;
}

/** A role's process under its name (`ingest`, `engine`, `worker-1`), with its log in `.penstock/logs/<name>.log`. */
export function roleProcess(
  frame: RoleFrame,
  role: "ingest" | "engine" | "consumers",
  name: string,
  httpPort: number,
  env: NodeJS.ProcessEnv,
): RoleProcess {
  // An engine that stands still at an entry must not keep the others from running: it is by ingest that an operator helps it.
  const ready = role === "engine" ? "healthz" : "readyz";
  return new RoleProcess({
    name,
    args: [frame.program, role],
    cwd: process.cwd(),
    env: () => ({ ...frame.env(), ...env, PENSTOCK_HTTP_PORT: String(httpPort) }),
    readyUrl: `${urlOn(frame.bind, httpPort)}/${ready}`,
    drainMs: frame.drainMs,
    onOutput: new LogFile(join(frame.stateFolder, "logs", `${name}.log`)).write,
    onSpawn: (pid) => frame.onSpawn(name, pid),
  });
}

/** The address by which a client on this machine reaches a port bound to `bind`. */
export function urlOn(bind: string, port: number): string {
  if (bind === "0.0.0.0" || bind === "::") return `http://127.0.0.1:${port}`;
  return `http://${bind.includes(":") ? `[${bind}]` : bind}:${port}`;
}
