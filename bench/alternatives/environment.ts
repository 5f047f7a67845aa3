/** An environment variable that a program of the bench cannot do without. */
export function required(name: "DATABASE_URL" | "REDIS_URL"): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}
