import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Timestamp } from "@bufbuild/protobuf/wkt";

import { UsageError } from "../runtime/errors.ts";

/** @throws UsageError where the text is no time. */
export function readTime(text: string): Timestamp {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) throw new UsageError(`not a time such as 2030-01-31T12:00:00Z: ${text}`);
  return timestampFromDate(date);
}
