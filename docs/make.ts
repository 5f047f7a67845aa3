import { writeFileSync } from "node:fs";

import { configurationReference } from "../src/config/reference.ts";
import { apiPage } from "./api.ts";
import { invariantsPage } from "./invariants.ts";

/** Writes what of the docs is made from the sources. */
const pages = {
  "api.md": apiPage(),
  "configuration.md": configurationReference(),
  "invariants.md": invariantsPage(),
};
for (const [name, text] of Object.entries(pages)) writeFileSync(new URL(name, import.meta.url), text);
