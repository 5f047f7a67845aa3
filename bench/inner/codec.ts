import { decodeBatch } from "../../src/stream/logged-command.ts";
import { prepareSubmit } from "../../src/stream/prepared-command.ts";
import { printLoops } from "../measure/loop.ts";
import { submitFields } from "../measure/commands.ts";

const COMMANDS = 500;

const fields = submitFields(COMMANDS);
const batch = Buffer.concat(fields.map((submit) => prepareSubmit("demo", submit).element));

await printLoops([
  {
    name: "a command encoded, with its idempotency key and hash",
    operations: COMMANDS,
    pass: () => {
      for (const submit of fields) prepareSubmit("demo", submit);
    },
  },
  { name: "a command of an entry decoded", operations: COMMANDS, pass: () => decodeBatch(batch) },
]);
