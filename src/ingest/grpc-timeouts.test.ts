import assert from "node:assert/strict";
import { test } from "node:test";
import { isEndless } from "./grpc-timeouts.ts";

test("a time of more milliseconds than 32 bits hold is endless", () => {
  for (const timeout of ["597H", "720H", "99999999H", "35792M", "2147484S", "99999999S"]) {
    assert.ok(isEndless(timeout), timeout);
  }
  for (const timeout of ["596H", "35791M", "2147483S", "99999999m", "99999999u", "99999999n", "1S", "soon", "-720"]) {
    assert.ok(!isEndless(timeout), timeout);
  }
});
