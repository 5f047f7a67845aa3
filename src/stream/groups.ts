/** The group that writes the stream to Postgres. */
export const PERSIST_GROUP = "persist";

/** All groups of the orders stream. The trimmer leaves alone a stream whose groups are not exactly these. */
export const ORDERS_GROUPS: readonly string[] = [PERSIST_GROUP];

/** All groups of the events stream. */
export const EVENTS_GROUPS: readonly string[] = [PERSIST_GROUP];
