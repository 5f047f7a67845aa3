/**
 * What the processes that a test starts have of the test's own environment: where programs are, and where Node keeps what it made of
 * sources (`npm test` says where), with which a role starts in half the time. The rest is the test's to say.
 */
export function processEnv(): Record<string, string> {
  const names = ["PATH", "NODE_COMPILE_CACHE"];
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  ) as Record<string, string>;
}
