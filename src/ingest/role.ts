import type { Config } from "../config/config.ts";
import { requireSigningKey } from "../config/config.ts";
import { AdminService } from "../gen/penstock/v1/admin_service_pb.ts";
import { AuthService } from "../gen/penstock/v1/auth_service_pb.ts";
import { LiveService } from "../gen/penstock/v1/live_service_pb.ts";
import { MarketDataService } from "../gen/penstock/v1/market_data_service_pb.ts";
import { OrderService } from "../gen/penstock/v1/order_service_pb.ts";
import { Letters } from "../letters/letters.ts";
import { runServices } from "../runtime/run.ts";
import type { Service } from "../runtime/service.ts";
import { AccountChanges } from "../store/account-changes.ts";
import { connect } from "../store/connection.ts";
import { claimPartitionCount as claimInStore } from "../store/settings.ts";
import { Appender, ClockError, MAX_CLOCK_AHEAD_MS } from "../stream/append.ts";
import { verifyDurability } from "../stream/durability.ts";
import { ORDERS_GROUPS } from "../stream/groups.ts";
import { InstrumentBook } from "../stream/instrument-book.ts";
import { PartitionKeys } from "../stream/keys.ts";
import { checkPartitionCount, claimPartitionCount as claimInLog } from "../stream/partition-count.ts";
import { Partitioning } from "../stream/partition.ts";
import { connectRedis, readClock } from "../stream/redis.ts";
import { RollCall } from "../stream/roll-call.ts";
import { type HttpRoutes, HttpServer } from "../telemetry/http-server.ts";
import { createLog, type Log } from "../telemetry/log.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { AccountBook } from "./account-book.ts";
import { Accounts } from "./accounts.ts";
import { Administration } from "./administration.ts";
import { Admission } from "./admission.ts";
import { AuditTrail } from "./audit-trail.ts";
import { Secrets } from "./auth/secrets.ts";
import { TokenService } from "./auth/tokens.ts";
import { BookHistory } from "./book-history.ts";
import { BookWatches } from "./book-watches.ts";
import { Certificates } from "./certificates.ts";
import { DeadLetterMethods } from "./dead-letters.ts";
import { DisconnectCancels } from "./disconnect-cancels.ts";
import { EngineClient } from "./engine-client.ts";
import { EngineCommands } from "./engine-commands.ts";
import { EventFollower, FOLLOW_BLOCK_MS } from "./event-follower.ts";
import { EventWaits } from "./event-waits.ts";
import { ensureAdmin } from "./first-admin.ts";
import { GapClosing } from "./gap-closing.ts";
import { Gate } from "./gate.ts";
import { GrpcDoor } from "./grpc-door.ts";
import { HttpDoor } from "./http-door.ts";
import { InstrumentMethods } from "./instruments.ts";
import { Keys } from "./keys.ts";
import { LiveWatches } from "./live-watches.ts";
import { MarketData } from "./market-data.ts";
import { MatchedAnswers } from "./matched-answers.ts";
import { IngestMetrics } from "./metrics.ts";
import { OrderCommands } from "./order-commands.ts";
import { OrderEntry } from "./order-entry.ts";
import { OrderLog } from "./order-log.ts";
import { OrderReads } from "./order-reads.ts";
import { OrderStates } from "./order-states.ts";
import { OrderStreams } from "./order-stream.ts";
import { OrderTraces } from "./order-traces.ts";
import { OrderWatches } from "./order-watch.ts";
import { PageFiles } from "./page-files.ts";
import { PipelineHistory } from "./pipeline-history.ts";
import { PipelineStatus } from "./pipeline-status.ts";
import { PipelineWatches } from "./pipeline-watches.ts";
import { IngestProcesses, processNumber, readiness, SharedRegistry } from "./processes.ts";
import { RateLimits } from "./rate-limits.ts";
import { ReportHistory } from "./report-history.ts";
import { serve } from "./served.ts";
import { SignIn } from "./sign-in.ts";
import { storeJournal } from "./store-journal.ts";
import { SymbolNews } from "./symbol-news.ts";
import { TradeWatches } from "./trade-watches.ts";
import { Watches } from "./watches.ts";

/** An answer of Redis this late is none: the call it belongs to has 10 s by default, and it is sent again. */
const REDIS_TIMEOUT_MS = 4_000;
/** Reads of orders; writing is the consumers' work. */
const POSTGRES_CONNECTIONS = 4;
/** What a key of idempotency takes in Redis, measured (bench/RESULTS.md): bounds a generation by its memory. */
const BYTES_PER_KEY = 110;

/** Two transactions of 5,000 rows, which a worker may have in hand, take some 200 ms; a flush is sent again for 5 s. */
const SETTLE_MS = 1_000;

/** What the first of several processes waits for beyond their own drains. */
const PROCESSES_MARGIN_MS = 1_000;

/** Runs ingest until a signal, in as many processes as are configured. */
export async function runIngest(config: Config): Promise<void> {
  const log = createLog("ingest", config.logLevel);
  const { processes } = config.listen;
  const number = processNumber();
  if (processes === 1 || number !== undefined) return runProcess(config, log, number);
  const drainTimeoutMs = config.drainTimeoutMs + PROCESSES_MARGIN_MS;
  await runServices([new IngestProcesses(processes, log)], log, { drainTimeoutMs });
}

/** Takes orders and appends them to the log. `number` is that of one of several processes. */
async function runProcess(config: Config, log: Log, number: number | undefined): Promise<void> {
  const registry = createMetrics("ingest", number === undefined ? {} : { process: String(number) });
  const onError = (error: Error) => log.warn({ err: error }, "Redis connection");
  const { replicaTimeoutMs } = config.log.durability;
  const connection = (name: string, waitMs = 0) =>
    connectRedis(config.redisUrl, {
      name: `penstock-ingest-${name}`,
      socketTimeoutMs: REDIS_TIMEOUT_MS + waitMs,
      onError,
    });
  // Appending has a connection a partition: a large flush of one does not hold up another, and WAIT covers its own.
  const reading = connection("read");
  const sql = connect(config.databaseUrl, { max: POSTGRES_CONNECTIONS });
  // For what asks each second, whether Postgres is there or not: after each failure the driver lets all of a pool wait longer.
  const sampling = connect(config.databaseUrl, { max: 1 });

  const partitioning = new Partitioning(config.log.partitions);
  const partitions = partitioning.all().map((partition) => new PartitionKeys(partition));
  const appending = partitions.map((keys) => connection(`append-${keys.partition}`, replicaTimeoutMs));
  const following = partitions.map((keys) => connection(`events-${keys.partition}`, FOLLOW_BLOCK_MS));
  const { admission: limits, log: logConfig } = config;
  const stalledMs = config.consumers.transactionTimeoutMs;
  const journal = storeJournal({ sql, databaseUrl: config.databaseUrl, partitioning, stalledMs });
  const keyShare = logConfig.idempotencyMemoryShare / 2 / partitions.length;
  const metrics: IngestMetrics = new IngestMetrics(registry, () => orderLog.waiting);
  const appenders = partitions.map(
    (keys, i) =>
      new Appender({
        redis: appending[i]!,
        keys,
        journal,
        durability: logConfig.durability,
        groups: ORDERS_GROUPS,
        replayHorizonMs: logConfig.replayHorizonMs,
        idempotencyHorizonMs: logConfig.idempotencyHorizonMs,
        log,
        maxWaiting: limits.maxInFlight,
        generationMs: logConfig.idempotencyHorizonMs,
        generationKeys: (maxMemoryBytes) => Math.floor((maxMemoryBytes * keyShare) / BYTES_PER_KEY),
        settleMs: SETTLE_MS,
        onFlush: ({ commands, bytes, seconds }) => {
          metrics.flushCommands.observe(commands);
          metrics.flushBytes.observe(bytes);
          metrics.flushSeconds.observe(seconds);
        },
        onLoss: (lost) => {
          metrics.lostAcknowledged.inc();
          log.error(
            { partition: keys.partition, ...lost },
            "ACKNOWLEDGED ENTRIES LOST: neither the log nor the journal has them",
          );
        },
      }),
  );
  const orderLog = new OrderLog(appenders);
  const instruments = new InstrumentBook(reading, partitions, log);
  const admission = new Admission(reading, partitions, limits, metrics, log);
  const tokens: TokenService = new TokenService({
    key: requireSigningKey(config),
    ttlS: config.auth.tokenTtlS,
    judge: (claims) => accountBook.judge(claims),
  });
  const accountBook = new AccountBook({
    databaseUrl: config.databaseUrl,
    onChange: (accounts) => tokens.forget(accounts),
    onLook: () => metrics.accountsRead.setToCurrentTime(),
    log,
  });
  const changes = new AccountChanges(config.databaseUrl);
  const administration = new Administration(changes, accountBook, log);
  const secrets = new Secrets();
  const rateLimits = new RateLimits(config.accountRate);
  const { tls } = config.listen;
  const certificates = tls && new Certificates(tls.certFile, tls.keyFile, log);
  if (certificates !== undefined) {
    registry.gauge("certificate_expiry_seconds", "Until the certificate in use ends.", [], (gauge) =>
      gauge.set((certificates.expiresAt - Date.now()) / 1000),
    );
  }

  const signIn = new SignIn({ sql, secrets, tokens, administration, log });
  const accounts = new Accounts(sql, secrets, administration);
  const keys = new Keys(sql, secrets, administration);
  const trail = new AuditTrail(sql, log);
  const follower = new EventFollower({ partitions, redis: following, log });
  const waits = new EventWaits({ follower, redis: reading, partitions });
  registry.gauge("waiting_matches", "Calls that wait for the engine.", [], (gauge) => gauge.set(waits.waiting));
  const states = new OrderStates({ follower, redis: reading, partitions });
  const engines = new EngineClient(config.engine.urls);
  const { retentionDays } = config;
  const logged = { redis: reading, sql, partitions, partitioning, instruments };
  const reads = new OrderReads({ ...logged, states, admission, engines, retentionDays });
  const commands = new OrderCommands({ instruments, partitioning, admission, reads, metrics });
  const matched = new MatchedAnswers({ waits, instruments, reads, metrics, log });
  const disconnects = new DisconnectCancels({ log: orderLog, partitioning, waits, metrics, logger: log });
  const entry = new OrderEntry({ commands, log: orderLog, matched, metrics });
  const gate = new Gate(tokens, metrics, log);
  const { requestTimeoutMs } = limits;
  const streams = new OrderStreams({
    commands,
    log: orderLog,
    matched,
    disconnects,
    gate,
    rateLimits,
    metrics,
    requestTimeoutMs,
  });
  const instrumentMethods = new InstrumentMethods(instruments, partitioning, orderLog, trail, log);
  const history = new ReportHistory({ redis: reading, sql, partitions, instruments });
  const orderWatches = new OrderWatches({ follower, history, instruments, partitioning });
  const news = new SymbolNews(follower, partitioning);
  const books = new BookWatches({ engines, news, log });
  const marketData = new MarketData({ sql, engines, instruments, books, trades: new TradeWatches(news) });
  const watches = new Watches(metrics);
  const engineCommands = new EngineCommands({ ...logged, orderLog, trail, log, engines });
  const gaps = new GapClosing({ ...logged, databaseUrl: config.databaseUrl, engines, log });
  const status = new PipelineStatus(admission, engines, sql);
  const letters = new Letters({ databaseUrl: config.databaseUrl, sql, instruments });
  const deadLetters = new DeadLetterMethods({ letters, instruments, settled: metrics.lettersSettled, log });
  const traces = new OrderTraces({ redis: reading, sql, reads, follower, partitions, instruments });
  const bookHistory = new BookHistory({ engines, instruments, partitioning });
  const sampled = new PipelineStatus(admission, engines, sampling);
  const pipelineHistory = new PipelineHistory({ redis: reading, status: sampled });
  const pipeline = new PipelineWatches(pipelineHistory);
  const live = new LiveWatches({ orders: orderWatches, market: marketData, pipeline, gate });
  const page = new PageFiles({ isSecure: certificates !== undefined, log });

  const served = [
    serve(OrderService, {
      submitOrder: ["trade", entry.submitOrder],
      submitOrders: ["trade", entry.submitOrders],
      streamOrders: ["trade", streams.streamOrders],
      cancelOrder: ["trade", entry.cancelOrder],
      replaceOrder: ["trade", entry.replaceOrder],
      cancelAllOrders: ["trade", entry.cancelAllOrders],
      getOrder: ["read", reads.getOrder],
      listOrders: ["read", reads.listOrders],
      getOrderTrace: ["read", traces.getOrderTrace],
      watchOrders: ["read", orderWatches.watchOrders],
    }),
    serve(MarketDataService, {
      listInstruments: ["read", instrumentMethods.listInstruments],
      getBook: ["read", marketData.getBook],
      watchBook: ["read", marketData.watchBook],
      watchTrades: ["read", marketData.watchTrades],
      listTrades: ["read", marketData.listTrades],
      getBookAt: ["read", bookHistory.getBookAt],
    }),
    serve(LiveService, { watch: ["read", live.watch] }),
    serve(AuthService, {
      issueToken: ["anyone", signIn.issueToken],
      revokeToken: ["read", signIn.revokeToken],
      startSession: ["anyone", signIn.startSession],
      endSession: ["read", signIn.endSession],
      getSession: ["read", signIn.getSession],
    }),
    serve(AdminService, {
      createAccount: ["admin", accounts.createAccount],
      getAccount: ["admin", accounts.getAccount],
      listAccounts: ["admin", accounts.listAccounts],
      updateAccount: ["admin", accounts.updateAccount],
      createKey: ["admin", keys.createKey],
      listKeys: ["admin", keys.listKeys],
      revokeKey: ["admin", keys.revokeKey],
      revokeTokens: ["admin", accounts.revokeTokens],
      listAdminActions: ["admin", trail.listAdminActions],
      upsertInstrument: ["admin", instrumentMethods.upsertInstrument],
      setTradingStatus: ["admin", engineCommands.setTradingStatus],
      setAccountLimits: ["admin", engineCommands.setAccountLimits],
      voidEntry: ["admin", engineCommands.voidEntry],
      closeGap: ["admin", gaps.closeGap],
      getPipelineStatus: ["admin", status.getPipelineStatus],
      listDeadLetters: ["admin", deadLetters.listDeadLetters],
      getDeadLetter: ["admin", deadLetters.getDeadLetter],
      redriveDeadLetter: ["admin", deadLetters.redriveDeadLetter],
      discardDeadLetter: ["admin", deadLetters.discardDeadLetter],
      watchPipeline: ["admin", pipeline.watchPipeline],
    }),
  ].map((service) => watches.around(rateLimits.around(service)));

  const doorOptions = {
    certificates,
    maxConnections: config.listen.maxConnections,
    services: served,
    gate,
    maxMessageBytes: limits.maxMessageBytes,
    requestTimeoutMs,
    drainTimeoutMs: Math.floor(config.drainTimeoutMs * 0.8), // the log behind it needs the rest
    metrics,
  };
  const { bind, grpcPort: port } = config.listen;
  const grpcDoor = new GrpcDoor({ ...doorOptions, bind, port, log });
  const httpDoor = new HttpDoor({
    ...doorOptions,
    corsOrigins: config.listen.corsOrigins,
  });
  // Both at once: each may take all the time that there is.
  const doors: Service = {
    name: "doors",
    start: async () => {
      await grpcDoor.start();
      await httpDoor.start();
    },
    stop: async () => void (await Promise.all([httpDoor.stop(), grpcDoor.stop()])),
  };

  let started = false;
  const connections: Service = {
    name: "connections",
    start: async () => {
      await verifyDurability(reading, logConfig.durability);
      // A wrong number must not be recorded in one of them because it was empty.
      await checkPartitionCount(reading, config.log.partitions);
      await claimInStore(sql, config.log.partitions);
      await claimInLog(reading, config.log.partitions);
      if (config.auth.adminSecret !== undefined) await ensureAdmin(sql, changes, secrets, config.auth.adminSecret, log);
    },
    stop: async () => {
      engines.close();
      for (const redis of [reading, ...appending, ...following]) redis.disconnect();
      await changes.close();
      await letters.close();
      await gaps.close();
      await Promise.all([sql, sampling].map((pool) => pool.end({ timeout: 1 })));
    },
  };
  const orderLogs: Service = {
    name: "log",
    start: async () => {
      for (const appender of appenders) await appender.open();
      await instruments.start();
      started = true;
    },
    stop: async () => {
      await instruments.stop();
      await Promise.all(appenders.map((appender) => appender.stop()));
    },
  };
  const routes: HttpRoutes = {
    limits: httpDoor.limits,
    certificates,
    answer: (request, response) => httpDoor.answer(request, response) || page.answer(request, response),
  };
  const http = new HttpServer({
    bind: config.listen.bind,
    port: config.listen.httpPort,
    log,
    routes,
    metrics: number === undefined ? registry : { registry: new SharedRegistry(registry.registry) },
    checks: {
      redis: async () => {
        // Every flush would be refused: calls should go to a server whose clock is right.
        const aheadMs = (await readClock(reading)) - Date.now();
        if (aheadMs > MAX_CLOCK_AHEAD_MS) throw new ClockError(aheadMs);
      },
      log: async () => {
        if (!started) throw new Error("the log is not open yet");
        // One that was shut by a failure says why, and nobody has to send an order to open it again.
        for (const appender of appenders) if (!appender.isOpen) await appender.open();
      },
      doors: async () => {
        if (!httpDoor.isOpen) throw new Error("no calls are taken");
      },
    },
  });
  const services = [
    ...(certificates ? [certificates] : []),
    connections,
    accountBook,
    page,
    http,
    orderLogs,
    admission,
    follower,
    waits,
    new RollCall({ role: "ingest", redis: reading, registry: registry.registry }),
    pipelineHistory,
    disconnects,
    doors,
  ];
  const { drainTimeoutMs } = config;
  if (number === undefined) return runServices(services, log, { drainTimeoutMs });
  // The terminal's Ctrl-C reaches all processes; the one that started this one then sends its SIGTERM. (A SIGTERM to the whole
  // group comes twice in this way: runServices knows it as an echo.)
  process.on("SIGINT", () => {});
  await runServices([...services, readiness], log, { drainTimeoutMs, signals: ["SIGTERM"] });
}
