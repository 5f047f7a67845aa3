import type { PageBounds } from "../stream/page-size.ts";

/** Of the journal in a page: some 12,000 commands, and as many rows beside them. */
export const JOURNAL_PAGE: PageBounds = { bytes: 1024 * 1024, most: 1_000 };
