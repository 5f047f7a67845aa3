import type { Kind } from "./fault.ts";
import { KILLS } from "./kinds/kills.ts";
import { PAUSES } from "./kinds/pauses.ts";
import { POINTS } from "./kinds/points.ts";
import { POSTGRES } from "./kinds/postgres.ts";
import { REDIS } from "./kinds/redis.ts";

/** All kinds of fault, in the sequence of the table. */
export const KINDS: readonly Kind[] = [...KILLS, ...PAUSES, ...POINTS, ...REDIS, ...POSTGRES];
