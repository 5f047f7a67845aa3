import { execFileSync } from "node:child_process";
import { availableParallelism, cpus, release, totalmem } from "node:os";

/** On what something was measured, as lines of Markdown. `servers` are further names with their versions. */
export function describeMachine(servers: Readonly<Record<string, string>>): string {
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const versions = { Linux: release(), Node: process.versions.node, ...servers, commit: commit() };
  return [
    `${cpus()[0]?.model.trim() ?? "unknown CPU"}, ${availableParallelism()} cores, ${memory}; everything on this machine.`,
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(", ") + ".",
  ].join("\n");
}

function commit(): string {
  const git = (...args: readonly string[]): string =>
    execFileSync("git", args, { cwd: import.meta.dirname, encoding: "utf8", stdio: "pipe" }).trim();
  try {
    // The bench writes its own results while it runs.
    const paths = [":/", ":(top,exclude)bench/*.md"];
    const changed = git("status", "--porcelain", "--untracked-files=no", "--", ...paths) === "" ? "" : " with changes";
    return git("rev-parse", "--short", "HEAD") + changed;
  } catch {
    return "unknown"; // not a clone
  }
}
