import type { Socket } from "node:net";
import type { Writable } from "node:stream";

import type postgres from "postgres";

import { clientOptions, openClient, openQuickSocket } from "./client.ts";
import type { SocketTarget } from "./client.ts";
import { TransactionError } from "./errors.ts";

/** A parameter as postgres.js sends it; arrays are given as literals (parameters.ts). */
export type Parameter = string | number | boolean | Buffer | null;

export interface Transaction {
  /** One statement with parameters (kept prepared), or any number of them without. Throws postgres.PostgresError. */
  query<Row extends object>(text: string, parameters?: readonly Parameter[]): Promise<QueryResult<Row>>;
  /**
   * COPY … FROM STDIN. Resolves when the server has taken every row. Throws the server's error where it came before the
   * data's end, else one of SQLSTATE 25P02, behind which the real one is hidden.
   */
  copy(statement: string, chunks: Iterable<Buffer>): Promise<void>;
}

export interface QueryResult<Row> {
  readonly rows: readonly Row[];
  /** How many rows the statement returned or wrote. */
  readonly count: number;
}

export interface WriterOptions {
  /** The bound of a whole transaction, connecting included, in ms. */
  readonly timeoutMs: number;
}

/**
 * Runs transactions on a connection of its own, one at a time.
 *
 * Always true: a transaction that resolved is committed; one that threw has sent nothing since its error, and its
 * connection is thrown away (the server rolls back). It may still be committed where the answer to COMMIT was lost. Whatever
 * the moment a backend dies at, there is an error, never an uncaught one, and the next transaction gets a new connection.
 */
export class Writer {
  readonly #url: string;
  readonly #timeoutMs: number;
  #session: Session | undefined;
  #busy = false;

  /** The bound of a whole transaction, in ms. */
  get timeoutMs(): number {
    return this.#timeoutMs;
  }

  /** Days since 1970 of which this writer knows that they have partitions (partitions.ts). */
  readonly knownDays = new Set<number>();

  constructor(url: string, options: WriterOptions) {
    this.#url = url;
    this.#timeoutMs = options.timeoutMs;
  }

  /**
   * BEGIN, `work`, COMMIT. Throws what `work` threw, a postgres.PostgresError, an error of the connection, or a
   * TransactionError.
   */
  async transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    if (this.#busy) throw new Error("a writer runs one transaction at a time");
    this.#busy = true;
    if (!this.#session?.usable) this.#session = new Session(this.#url, this.#timeoutMs);
    try {
      return await this.#session.transaction(work);
    } finally {
      this.#busy = false;
    }
  }

  /** Ends the connection; a transaction on its way fails. The next one would open a new connection. */
  async close(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await session?.close();
  }
}

/**
 * One postgres.js client with one reserved connection on one socket, thrown away at the first error.
 *
 * Always true: once `#end` is set nothing is sent, because a statement on a connection that is gone ends the process; the
 * socket is then destroyed and no second one is made. Every step looks at `#end` first and then races `#interrupted`.
 */
class Session implements Transaction {
  readonly #timeoutMs: number;
  readonly #client: postgres.Sql;
  #reserved: postgres.ReservedSql | undefined;
  #socket: Socket | undefined;
  #end: Error | undefined;
  #idle = true;
  /** Rejected when the session ends. A new one for each transaction: a race adds reactions to it that stay as long as it does. */
  #interrupted = Promise.withResolvers<never>();

  constructor(url: string, timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    const options = {
      ...clientOptions(timeoutMs),
      max: 1,
      idle_timeout: 0,
      max_lifetime: null,
      onclose: () => this.#fail(new TransactionError("the connection to Postgres was lost")),
      socket: (target: SocketTarget) => this.#openOnce(target),
    };
    this.#client = openClient(url, options);
  }

  get usable(): boolean {
    return this.#end === undefined;
  }

  async transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    this.#idle = false;
    this.#interrupted = Promise.withResolvers<never>();
    this.#interrupted.promise.catch(() => {}); // nobody races it between two steps
    const timer = setTimeout(
      () => this.#fail(new TransactionError(`the transaction took longer than ${this.#timeoutMs} ms`)),
      this.#timeoutMs,
    );
    try {
      this.#reserved ??= await this.#race(this.#reserve());
      await this.query("BEGIN ISOLATION LEVEL READ COMMITTED");
      const result = await this.#race(work(this));
      const commit = await this.#step((sql) => sql.unsafe("COMMIT"));
      // The server answers COMMIT with ROLLBACK, and no error, where the transaction was aborted.
      if (commit.command !== "COMMIT") throw new TransactionError(`COMMIT was answered with ${commit.command}`);
      return result;
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
      throw error;
    } finally {
      clearTimeout(timer);
      this.#idle = true;
    }
  }

  async query<Row extends object>(text: string, parameters: readonly Parameter[] = []): Promise<QueryResult<Row>> {
    const rows = await this.#step((sql) =>
      sql.unsafe<Row[]>(text, [...parameters], { prepare: parameters.length > 0 }),
    );
    return { rows, count: rows.count };
  }

  async copy(statement: string, chunks: Iterable<Buffer>): Promise<void> {
    const stream = await this.#step((sql) => sql.unsafe(statement).writable());
    let failure: Error | undefined;
    stream.on("error", (error) => (failure ??= error)); // unheard, it would end the process
    try {
      // postgres.js refuses all that follows until the last piece is out.
      for (const chunk of chunks) await this.#race(write(stream, chunk));
      stream.end();
      // The barrier: `finish` also fires where the COPY failed, but the next statement then fails with 25P02.
      await this.query("SELECT");
    } catch (error) {
      throw failure ?? error;
    }
  }

  async close(): Promise<void> {
    if (this.#idle) {
      this.#reserved?.release();
      await this.#client.end({ timeout: 1 }); // seconds; a server that lives closes within a round trip
    }
    this.#fail(new TransactionError("the writer was closed"));
  }

  async #reserve(): Promise<postgres.ReservedSql> {
    // Without the fetching of types, a reservation that must open its connection first is never answered.
    await this.#client.unsafe("SELECT");
    return await this.#client.reserve();
  }

  async #step<T>(send: (sql: postgres.ReservedSql) => PromiseLike<T>): Promise<T> {
    if (this.#end !== undefined) throw this.#end;
    if (this.#reserved === undefined) throw new Error("a statement before the session was open");
    return await this.#race(send(this.#reserved));
  }

  #race<T>(answer: PromiseLike<T>): Promise<T> {
    return Promise.race([answer, this.#interrupted.promise]);
  }

  #fail(error: Error): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    this.#interrupted.reject(error);
    this.#socket?.destroy();
    this.#client.end({ timeout: 0 }).catch(() => {}); // only forgets the client: its socket is gone
  }

  #openOnce(target: SocketTarget): Socket {
    // postgres.js would connect again by itself for a query that it believes to be waiting.
    if (this.#end !== undefined) throw this.#end;
    if (this.#socket !== undefined) throw new TransactionError("the connection to Postgres was closed at once");
    this.#socket = openQuickSocket(target);
    return this.#socket;
  }
}

function write(stream: Writable, chunk: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(chunk, (error) => (error ? reject(error) : resolve()));
  });
}
