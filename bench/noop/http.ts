import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

// The floor of /healthz: a bare handler that answers the same, in a process of its own. Its port is printed as a line, and it
// ends when standard input does, as those of order-server.ts.

const server = createServer((_, response) => {
  response.writeHead(200, { "content-type": "text/plain", "content-length": 3 });
  response.end("ok\n");
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
process.stdin.resume().once("end", () => process.exit());
