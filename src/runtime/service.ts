/**
 * Something that lives as long as its process: a server, a reader, a timer.
 *
 * - `start` resolves when it does its work, and rejects when it cannot; what it had begun is then undone by `stop`.
 * - `stop` resolves when all work that had begun is finished and nothing is left behind. It may come while `start` is
 *   still under way, and then ends that too. It is called once.
 * - A service whose background work cannot go on lets the error go uncaught: the process ends and is started again.
 */
export interface Service {
  readonly name: string;
  start(): Promise<void>;
  stop(): Promise<void>;
}
