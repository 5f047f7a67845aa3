import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";

import { WatchRequestSchema } from "../../gen/penstock/v1/live_service_pb.ts";
import { liveFaults } from "./live.ts";

test("a request for several watches names something, each of it once", () => {
  const faults = (request: Parameters<typeof create<typeof WatchRequestSchema>>[1]) =>
    liveFaults(create(WatchRequestSchema, request)).map(({ field, description }) => `${field} ${description}`);
  const books = ["A", "B"].map((symbol) => ({ symbol }));
  assert.deepEqual(faults({}), ["orders is required, or one of books, trades and pipeline"]);
  assert.deepEqual(faults({ books, trades: books }), []);
  assert.deepEqual(faults({ books: [...books, { symbol: "A" }] }), ["books[2].symbol must be named once"]);
});

test("of too many symbols nothing else is said, nor looked for", () => {
  const books = Array.from({ length: 200_000 }, (_, i) => ({ symbol: String(i) }));
  const request = create(WatchRequestSchema, { books: [...books, ...books] });
  assert.deepEqual(liveFaults(request), [{ field: "books", description: "must be at most 16" }]);
});
