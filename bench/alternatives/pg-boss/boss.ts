import { PgBoss } from "pg-boss";
import type { ConstructorOptions } from "pg-boss";
import { required } from "../environment.ts";

/** The queue, with an order a job. */
export const QUEUE = "orders";

export async function startBoss(options: ConstructorOptions): Promise<PgBoss> {
  const boss = new PgBoss({ connectionString: required("DATABASE_URL"), schedule: false, ...options });
  boss.on("error", (error) => console.error(`pg-boss: ${error.message}`));
  return boss.start();
}
