import * as v from "valibot";

/**
 * The environment variables of every role. A variable that is unset or empty takes its default; each description gives
 * the unit and where the number comes from, and is what a configuration reference prints.
 */

const quoted = (input: unknown): string => JSON.stringify(String(input).slice(0, 60));

/** A whole number in plain decimal digits. */
const whole = (least: number, most: number, preset: number, text: string) =>
  v.pipe(
    v.optional(v.string(), String(preset)),
    v.check(
      (input) => /^\d{1,15}$/.test(input) && Number(input) >= least && Number(input) <= most,
      ({ input }) => `must be a whole number from ${least} to ${most}, not ${quoted(input)}`,
    ),
    v.transform(Number),
    v.description(text),
  );

/** A share of something: more than 0, at most 1. */
const share = (preset: number, text: string) =>
  v.pipe(
    v.optional(v.string(), String(preset)),
    v.check(
      (input) => /^[01](\.\d{1,6})?$/.test(input) && Number(input) > 0 && Number(input) <= 1,
      ({ input }) => `must be a share such as 0.75, above 0 and at most 1, not ${quoted(input)}`,
    ),
    v.transform(Number),
    v.description(text),
  );

/** Text that matches a pattern. */
const text = (pattern: RegExp, wanted: string, preset: string, description: string) =>
  v.pipe(
    v.optional(v.string(), preset),
    v.check(
      (input) => pattern.test(input),
      ({ input }) => `must be ${wanted}, not ${quoted(input)}`,
    ),
    v.description(description),
  );

/** One of a few words. */
const oneOf = <const Word extends string>(words: readonly Word[], preset: NoInfer<Word>, description: string) =>
  v.pipe(
    v.optional(v.string(), preset),
    v.picklist(words, ({ input }) => `must be one of ${words.join(", ")}, not ${quoted(input)}`),
    v.description(description),
  );

/** An address of a server. It may hold a password, so no message repeats it. */
const address = (schemes: readonly string[], description: string) =>
  v.pipe(
    v.string(),
    v.check(
      (input) => URL.canParse(input) && schemes.includes(new URL(input).protocol),
      `must be an address that begins with ${schemes.map((scheme) => `${scheme}//`).join(" or ")}`,
    ),
    v.description(description),
  );

/** The driver takes what a URL says before what it is told, such as how often a command is sent again. */
function setsNothing(url: string): boolean {
  return !URL.canParse(url) || [...new URL(url).searchParams.keys()].every((name) => name === "family");
}

/** Text that no message repeats: a secret, or the path of the file that holds it. */
const hidden = (description: string) => v.pipe(v.optional(v.string()), v.description(description));

/** Several words, joined by commas. */
const list = (preset: string, fits: (words: string[]) => boolean, wanted: string, description: string) =>
  v.pipe(
    v.optional(v.string(), preset),
    v.transform((input) =>
      input
        .split(",")
        .map((word) => word.trim())
        .filter(Boolean),
    ),
    v.check(fits, wanted),
    v.description(description),
  );

/** What a browser sends in its header "origin", or `*` for any. */
const isOrigin = (text: string) => text === "*" || (URL.canParse(text) && new URL(text).origin === text);

/** `http://host:port`: engines speak in clear, within the deployment. */
const isEngineUrl = (text: string) => URL.canParse(text) && new URL(text).href === `http://${new URL(text).host}/`;

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** The longest life of a token that can be configured: a month. What is revoked is remembered for so long. */
export const MAX_TOKEN_TTL_S = 30 * 86_400;

export const variables = v.object(
  {
    REDIS_URL: v.pipe(
      address(
        ["redis:", "rediss:"],
        "The Redis server that holds the log, with a database's number where it is not 0; of parameters only family. Required.",
      ),
      v.check(setsNothing, "must have no parameters but family: they would replace how the log talks to its server"),
    ),
    REDIS_PASSWORD_FILE: hidden("The file that holds the password of REDIS_URL, which then has none itself."),
    DATABASE_URL: address(["postgres:", "postgresql:"], "The Postgres database. Required."),
    DATABASE_PASSWORD_FILE: hidden("The file that holds the password of DATABASE_URL, which then has none itself."),
    PENSTOCK_STATE_DIR: text(
      /^[^\0]{1,1024}$/,
      "a path",
      ".penstock",
      "The folder of what this machine keeps: the addresses and tokens of a running stack, data of embedded servers.",
    ),
    PENSTOCK_LOG_LEVEL: oneOf(
      ["trace", "debug", "info", "warn", "error", "fatal", "silent"],
      "info",
      "The least severe lines that are logged.",
    ),

    PENSTOCK_PARTITIONS: whole(
      1,
      4096,
      1,
      "Partitions of the log. Fixed at the first start, another number is refused then. An order id has 12 bits for it.",
    ),
    PENSTOCK_DURABILITY: text(
      /^(memory|everysec|always|replicas:[1-9]\d?)$/,
      "memory, everysec, always or replicas:<n> with n from 1 to 99",
      "always",
      "What an acknowledged order has survived: memory, everysec (up to 1 s may be lost), always (on disk), or " +
        "replicas:<n> (on n replicas as well). Checked against the server.",
    ),
    PENSTOCK_REPLICA_TIMEOUT_MS: whole(
      10,
      minute,
      2 * second,
      "Milliseconds that a flush waits for its replicas. One beat of replication is 1 s; two leave room for a late one.",
    ),
    PENSTOCK_IDEMPOTENCY_HORIZON_MS: whole(
      second,
      7 * day,
      hour,
      "Milliseconds for which a repeated client id is recognised at least. An hour outlasts a client's restart; each key " +
        "costs about 100 bytes of Redis.",
    ),
    PENSTOCK_IDEMPOTENCY_MEMORY_SHARE: share(
      0.3,
      "The share of Redis' maxmemory that both generations of keys may take. At 0.3 a gigabyte holds 3 million keys.",
    ),
    PENSTOCK_REPLAY_HORIZON_MS: whole(
      0,
      7 * day,
      5 * minute,
      "Milliseconds of the log that stay in Redis though every group is through. Five minutes outlast a role's restart.",
    ),
    PENSTOCK_TRIM_INTERVAL_MS: whole(
      100,
      minute,
      second,
      "Milliseconds between two trims of a stream. At a second, no more than a second's orders wait beyond their time.",
    ),

    PENSTOCK_BIND: text(
      /^[0-9A-Za-z.:_-]{1,253}$/,
      "an IP address or a host name",
      "127.0.0.1",
      "The address on which a role's ports listen. 0.0.0.0 is every interface.",
    ),
    PENSTOCK_GRPC_PORT: whole(0, 65_535, 50_051, "The gRPC port of ingest. 0 takes a free one."),
    PENSTOCK_HTTP_PORT: whole(
      0,
      65_535,
      8_080,
      "The HTTP port of a role: health and metrics, and with ingest Connect, gRPC-Web and JSON. 0 takes a free one.",
    ),
    PENSTOCK_CORS_ORIGINS: list(
      "",
      (origins) => origins.every(isOrigin),
      "must be origins such as https://trade.example, joined by commas, or *",
      "The origins whose pages may call the HTTP port from a browser, joined by commas (https://trade.example), or * for all. " +
        "None by default. Calls carry tokens and no cookies.",
    ),
    PENSTOCK_ENGINE_PORT: whole(
      0,
      65_535,
      50_052,
      "The gRPC port of an engine. It asks for no token: ingest alone should reach it. 0 takes a free one.",
    ),
    PENSTOCK_ENGINE_URL: list(
      "http://127.0.0.1:50052",
      (urls) => urls.length >= 1 && urls.length <= 16 && urls.every(isEngineUrl),
      "must be 1 to 16 addresses such as http://engine:50052, joined by commas",
      "Where ingest asks the engine for books and states: standbys too, joined by commas; where one does not answer the next is asked.",
    ),
    PENSTOCK_INGEST_PROCESSES: whole(
      1,
      64,
      1,
      "Processes of ingest on these ports. One takes about 10,000 unary orders/s; each has limits and connections of its own.",
    ),
    PENSTOCK_TLS_CERT_FILE: hidden(
      "The certificate of both ports of ingest and its chain (PEM), with PENSTOCK_TLS_KEY_FILE; without them they speak in " +
        "clear. Replaced files are used within seconds, without a restart.",
    ),
    PENSTOCK_TLS_KEY_FILE: hidden("The private key of that certificate (PEM)."),
    PENSTOCK_SIGNING_KEY: hidden(
      "The key that signs tokens: at least 32 bytes (`openssl rand -hex 32`). Ingest needs it.",
    ),
    PENSTOCK_SIGNING_KEY_FILE: hidden("The file that holds the signing key, in place of PENSTOCK_SIGNING_KEY."),
    PENSTOCK_TOKEN_TTL_S: whole(
      60,
      MAX_TOKEN_TTL_S,
      12 * 3_600,
      "Seconds for which a token is good, unless it is revoked before. 12 hours are a trading day.",
    ),
    PENSTOCK_ADMIN_SECRET: hidden(
      'A secret of the account "admin", which is created where there is none: at least 16 characters. Another one at a later ' +
        "start takes the place of this one.",
    ),
    PENSTOCK_ADMIN_SECRET_FILE: hidden("The file that holds the secret of admin, in place of PENSTOCK_ADMIN_SECRET."),
    PENSTOCK_ACCOUNT_RATE: whole(
      0,
      1_000_000,
      0,
      "Orders and other calls that an account may make a second at each ingest process, where it has no limit of its own. 0: no limit.",
    ),

    PENSTOCK_MAX_IN_FLIGHT: whole(
      1_000, // as many as a SubmitOrders may hold
      1_000_000,
      50_000,
      "Commands that may wait for one partition in one ingest process; more are refused. At 50,000 orders/s a second, for which a disk may stall.",
    ),
    PENSTOCK_MAX_BACKLOG: whole(
      1,
      1_000_000_000,
      1_000_000,
      "Entries that a group may lag before new orders are refused. An entry of one order takes about 125 bytes: a million are " +
        "125 MB.",
    ),
    PENSTOCK_MAX_BACKLOG_AGE_MS: whole(
      second,
      7 * day,
      15 * minute,
      "Milliseconds that the oldest entry may wait before new orders are refused. A restart or failover of Postgres takes less.",
    ),
    PENSTOCK_MAX_MEMORY_SHARE: share(
      0.75,
      "The share of Redis' maxmemory beyond which new orders are refused. The rest lets consumers and snapshots go on.",
    ),
    PENSTOCK_MAX_MESSAGE_BYTES: whole(
      4_096,
      16 * 1_048_576,
      1_048_576,
      "Bytes of one request. 1,000 orders take less than 200 kB; an entry of the log holds 1 MiB.",
    ),
    PENSTOCK_MAX_CONNECTIONS: whole(
      1,
      100_000,
      4_096,
      "Connections of each port of one ingest process; more are closed at once. An idle one takes some 30 kB, 80 kB under TLS.",
    ),
    PENSTOCK_REQUEST_TIMEOUT_MS: whole(
      100,
      5 * minute,
      10 * second,
      "Milliseconds that a call may take at most, and where its client gives no deadline. A person waits ten seconds.",
    ),
    PENSTOCK_SNAPSHOT_COMMANDS: whole(
      1_000,
      1_000_000_000,
      1_000_000,
      "Commands after which an engine stores a snapshot. It works a million in about a second when it starts again, and the log " +
        "of them stays in Redis: 84 bytes each.",
    ),
    PENSTOCK_SNAPSHOT_INTERVAL_MS: whole(
      second,
      day,
      5 * minute,
      "Milliseconds after which an engine stores a snapshot where it has worked anything. As long as the replay horizon: Redis " +
        "then holds at most twice that of the log.",
    ),
    PENSTOCK_DRAIN_TIMEOUT_MS: whole(
      second,
      10 * minute,
      30 * second,
      "Milliseconds that a role may take to stop; whoever stops it must give it 5 s more. Where that gives 30 s, set 25000.",
    ),

    PENSTOCK_CONSUMER_NAME: v.pipe(
      v.optional(v.string()),
      v.check(
        (input) => input === undefined || /^[0-9A-Za-z._:-]{1,64}$/.test(input),
        ({ input }) => `must be 1 to 64 letters, digits, '.', '_', ':' or '-', not ${quoted(input)}`,
      ),
      v.description(
        "The name of a worker in its group. It must outlive a restart and be its own. Default: the host's name and the HTTP " +
          "port, which two workers of a host cannot share; give a name where that port is 0.",
      ),
    ),
    PENSTOCK_READ_COUNT: whole(
      1,
      1_000,
      50,
      "Entries of one read at most; fewer where they are large. 50 hold up to 25,000 orders, of some 5 MB.",
    ),
    PENSTOCK_READ_BLOCK_MS: whole(
      10,
      10 * second,
      second,
      "Milliseconds that a read waits for entries. An idle worker asks once a second, and stops within one.",
    ),
    PENSTOCK_MIN_IDLE_MS: whole(
      second,
      hour,
      minute,
      "Milliseconds after which an entry that another worker holds is taken over. Three times the longest transaction.",
    ),
    PENSTOCK_CLAIM_INTERVAL_MS: whole(
      100,
      hour,
      15 * second,
      "Milliseconds between two looks for stalled entries. A quarter of the idle time delays none much.",
    ),
    PENSTOCK_CONSUMER_GONE_MS: whole(
      second,
      30 * day,
      hour,
      "Milliseconds of silence after which a consumer that holds nothing is removed from its group. A live one is heard of each " +
        "minute, or twice in this time where that is more often.",
    ),
    PENSTOCK_TRANSACTION_ROWS: whole(
      500,
      100_000,
      5_000,
      "Orders after which a transaction is sliced, at the bounds of entries. COPY takes 8 µs a row at 500 and 5 µs at 5,000; " +
        "an entry holds up to 500 and is never cut. Of what the engine makes of them, four times as many rows.",
    ),
    PENSTOCK_TRANSACTION_TIMEOUT_MS: whole(
      100,
      5 * minute,
      20 * second,
      "Milliseconds that a transaction may take. 5,000 rows take 25 ms; the rest is patience with a busy disk. Where ingest opens " +
        "a log that has lost something, it ends transactions of workers that last longer: give it the same.",
    ),
    PENSTOCK_RETENTION_DAYS: whole(
      0,
      36_500,
      30,
      "Days that journal, orders, their states, execution reports and trades are kept in Postgres; 0 keeps them for ever. A " +
        "month covers the usual dispute.",
    ),
  },
  "is required",
);

export type Variables = v.InferOutput<typeof variables>;
