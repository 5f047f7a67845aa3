import { writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Writes a program that stands in for `main.ts` in tests of the stack: a role that is ready at once, and that says in its
 * output what happens to it. With STAND_IN=broken it fails at the start, with STAND_IN=deaf it ignores SIGTERM.
 */
export function writeStandIn(folder: string): string {
  const file = join(folder, "stand-in.mjs");
  writeFileSync(
    file,
    `import { createServer } from "node:http";
const role = process.argv[2];
if (process.env.STAND_IN === "broken") {
  console.error(role + " is broken");
  process.exit(1);
}
const server = createServer((request, response) => response.writeHead(/^\\/(ready|health)z$/.test(request.url) ? 200 : 404).end());
server.listen(Number(process.env.PENSTOCK_HTTP_PORT), "127.0.0.1");
process.on("SIGTERM", () => {
  if (process.env.STAND_IN === "deaf") return;
  console.log(role + " drained at " + Date.now());
  process.exit(0);
});
`,
  );
  return file;
}
