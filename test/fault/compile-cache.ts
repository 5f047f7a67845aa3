import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const SOURCES = join(import.meta.dirname, "..", "..", "src");

/**
 * The environment in which roles start in half the time: Node keeps what it made of their sources in this folder. It writes that
 * when a process ends by itself, which those that are killed here never do; so it is filled once beforehand.
 */
export async function withCompileCache(folder: string): Promise<{ readonly NODE_COMPILE_CACHE: string }> {
  const env = { PATH: process.env["PATH"], NODE_COMPILE_CACHE: join(folder, "compile-cache") };
  if (!existsSync(env.NODE_COMPILE_CACHE)) {
    const roles = ["ingest", "engine", "consumers"].map((role) => join(SOURCES, role, "role.ts"));
    const program = roles.map((file) => `await import(${JSON.stringify(file)});`).join("");
    await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program], { env });
  }
  return { NODE_COMPILE_CACHE: env.NODE_COMPILE_CACHE };
}
