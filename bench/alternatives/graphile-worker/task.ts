import { Logger } from "graphile-worker";

/** The task whose jobs hold the orders of a call each, as an array: what this library calls a batch job. */
export const TASK = "orders";

/** Without a line for each job; errors are told. */
export const logger = new Logger(() => (level, message) => {
  if (level === "error") console.error(`graphile-worker: ${message}`);
});
