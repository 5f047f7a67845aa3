import { join } from "node:path";

import { LogFile } from "./log-file.ts";
import { findPostgres } from "./postgres-binaries.ts";
import { PostgresServer } from "./postgres-server.ts";
import { findRedis, RedisServer } from "./redis-server.ts";
import { keptSecret } from "./secret.ts";
import { dataHome, findServiceUser } from "./service-user.ts";
import type { StackSettings } from "./settings.ts";

/** Where `setup.sh` puts what the machine lacks, whatever PENSTOCK_STATE_DIR says. */
const SET_UP_FOLDER = join(import.meta.dirname, "..", "..", ".penstock");

/** A server's address, known once it has started, and the server itself where it is our own. */
export interface Backend<Server> {
  readonly own: Server | undefined;
  url(): string;
}

/** REDIS_URL, or a Redis with its data in `.penstock/redis` (as root maybe elsewhere, see `dataHome`). */
export function redisBackend(settings: StackSettings): Backend<RedisServer> {
  const { redisUrl, redisPort, stateFolder } = settings;
  if (redisUrl !== undefined) return { own: undefined, url: () => redisUrl };
  const user = findServiceUser();
  const own = new RedisServer({
    folder: join(dataHome(stateFolder, user), "redis"),
    program: findRedis(SET_UP_FOLDER),
    user,
    port: redisPort,
    password: keptSecret(join(stateFolder, "redis.secret")),
    onOutput: new LogFile(join(stateFolder, "logs", "redis.log")).write,
  });
  return { own, url: () => own.url };
}

/** DATABASE_URL, or a Postgres with its data in `.penstock/postgres` (as root maybe elsewhere, see `dataHome`). */
export function postgresBackend(settings: StackSettings): Backend<PostgresServer> {
  const { databaseUrl, postgresPort, stateFolder } = settings;
  if (databaseUrl !== undefined) return { own: undefined, url: () => databaseUrl };
  const user = findServiceUser();
  const home = dataHome(stateFolder, user);
  const own = new PostgresServer({
    folder: join(home, "postgres"),
    binaries: findPostgres(user, home),
    user,
    port: postgresPort,
    password: keptSecret(join(stateFolder, "postgres.secret")),
    onOutput: new LogFile(join(stateFolder, "logs", "postgres.log")).write,
  });
  return { own, url: () => own.url };
}
