import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Worker } from "node:worker_threads";

/**
 * Listens, and then never again gives its thread to the loop that would accept: the system takes as many connections as the
 * backlog holds, and drops what asks for more.
 */
const LISTENER = `
const { createServer } = require("node:net");
const { parentPort, workerData } = require("node:worker_threads");
createServer().listen({ port: workerData, host: "127.0.0.1", backlog: 1 }, () => {
  parentPort.postMessage("listening");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
`;

/** Linux holds one more than the backlog says. A machine that holds so many has another way. */
const MOST_FILLERS = 16;
/** On the loopback interface a connection is made in microseconds. */
const FILLED_MS = 150;

/** A port of the loopback interface at which connecting takes for ever. Resolves with what ends it. */
export async function openBlackHole(port: number): Promise<() => Promise<void>> {
  const worker = new Worker(LISTENER, { eval: true, workerData: port });
  await once(worker, "message"); // rejects where the port is taken
  const fillers: Socket[] = [];
  const end = async (): Promise<void> => {
    for (const filler of fillers) filler.destroy();
    await worker.terminate();
  };
  for (;;) {
    const filler = connect(port, "127.0.0.1");
    filler.on("error", () => {});
    fillers.push(filler);
    const isMade = await Promise.race([
      once(filler, "connect").then(() => true),
      new Promise<boolean>((resolve) => setTimeout(resolve, FILLED_MS, false)),
    ]);
    if (!isMade) return end;
    if (fillers.length > MOST_FILLERS) {
      await end();
      throw new Error("the backlog of this system does not fill");
    }
  }
}
