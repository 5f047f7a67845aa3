import type { Kind } from "./fault.ts";
import { CLOCKS } from "./kinds/clocks.ts";
import { CONNECTIONS } from "./kinds/connections.ts";
import { DISKS } from "./kinds/disks.ts";
import { KILLS } from "./kinds/kills.ts";
import { PAUSES } from "./kinds/pauses.ts";
import { POINTS } from "./kinds/points.ts";
import { POSTGRES } from "./kinds/postgres.ts";
import { REDIS } from "./kinds/redis.ts";
import { REPLICAS } from "./kinds/replicas.ts";
import { VERSIONS } from "./kinds/versions.ts";

/** All kinds of fault, in the sequence of the table. */
export const KINDS: readonly Kind[] = [
  ...[...KILLS, ...PAUSES, ...POINTS, ...CONNECTIONS],
  ...[...REDIS, ...POSTGRES, ...DISKS, ...REPLICAS, ...CLOCKS, ...VERSIONS],
];
