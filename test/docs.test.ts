import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { apiPage } from "../docs/api.ts";
import { invariantsPage } from "../docs/invariants.ts";
import { configurationReference } from "../src/config/reference.ts";

const pages = { "api.md": apiPage, "configuration.md": configurationReference, "invariants.md": invariantsPage };

for (const [name, make] of Object.entries(pages)) {
  test(`docs/${name} is what \`npm run docs\` makes of the sources`, () => {
    assert.equal(readFileSync(new URL(`../docs/${name}`, import.meta.url), "utf8"), make());
  });
}
