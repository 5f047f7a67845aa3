import { readFileSync, writeFileSync, rmSync } from "node:fs";
import { fromBinary, toBinary, create } from "@bufbuild/protobuf";
import { startStack } from "./stack.ts";
import { startServer } from "./child-server.ts";
import { measure } from "./measure/measure.ts";
import { readAnswer } from "./load/answers.ts";
import { SubmitOrderResponseSchema } from "../src/gen/penstock/v1/order_service_pb.ts";
import { timestampNow } from "@bufbuild/protobuf/wkt";
const bytes = Buffer.from(toBinary(SubmitOrderResponseSchema, create(SubmitOrderResponseSchema, { orderId: "01234567-89ab-7cde-8f01-23456789abcd", clientOrderId: "deadbeef-000000001", status: 1, createdAt: timestampNow() })));
const v = { accepted: () => {}, refused: () => {} };
for (let r = 0; r < 3; r++) for (const [n, f] of [["in place", () => readAnswer(bytes, v)], ["fromBinary", () => fromBinary(SubmitOrderResponseSchema, bytes)]] as const) {
  const c = process.cpuUsage(); for (let i = 0; i < 300000; i++) f(); const u = process.cpuUsage(c); console.log("answer", n, ((u.user + u.system) * 1000 / 300000).toFixed(0), "ns CPU");
}
const none = async () => {};
// channelz
const server = readFileSync("bench/order-server.ts", "utf8");
writeFileSync("bench/zz-order-server.ts", server.replace('{ "grpc.enable_channelz": 0 }', '{ "grpc.enable_channelz": 1 }'));
writeFileSync("bench/noop/zz-main.ts", readFileSync("bench/noop/main.ts", "utf8").replace("../order-server.ts", "../zz-order-server.ts"));
for (let r = 0; r < 3; r++) for (const [n, file] of [["off", "noop/main.ts"], ["on", "noop/zz-main.ts"]] as const) {
  const s = await startServer(file);
  const target = { name: n, port: s.port, token: "x", databaseUrl: undefined, processes: () => ({ server: s.pid }), settled: none };
  await measure(target, { rate: 5000, seconds: 2, warmupSeconds: 0, batch: 0 });
  const m = await measure(target, { rate: 5000, seconds: 5, warmupSeconds: 0, batch: 0 });
  console.log("channelz", n, m.cpuMicros.server?.toFixed(1), "µs/call; others", m.othersShare.toFixed(2));
  await s.stop();
}
// pool
const stack = await startStack();
try {
  const insert = readFileSync("bench/alternatives/insert-per-order.ts", "utf8");
  for (const pool of [8, 16, 32, 64]) writeFileSync(`bench/alternatives/zz-${pool}.ts`, insert.replace("const POOL = 32;", `const POOL = ${pool};`));
  for (let r = 0; r < 3; r++) for (const pool of [8, 16, 32, 64]) {
    const url = await stack.createDatabase(`p${pool}_${r}`);
    const s = await startServer(`alternatives/zz-${pool}.ts`, { DATABASE_URL: url, PENSTOCK_TOKEN: stack.target.token });
    const target = { name: "i", port: s.port, token: stack.target.token, databaseUrl: undefined, processes: () => ({ server: s.pid, postgres: stack.postgresPid }), settled: none };
    await measure(target, { rate: 1000, seconds: 2, warmupSeconds: 0, batch: 0 });
    const m = await measure(target, { rate: 4000, seconds: 4, warmupSeconds: 0, batch: 0 });
    console.log("pool", pool, "reached", m.report.rate.toFixed(0), "cpu", Object.values(m.cpuMicros).map((x) => x.toFixed(0)).join("+"), "others", m.othersShare.toFixed(2), "errors", m.report.errors);
    await s.stop();
  }
} finally { await stack.stop(); }
