import { Argument, type Command, Option } from "commander";
import type { AccountChange, AccountOptions, LimitOptions } from "../accounts.ts";
import { client, example, wholeNumber } from "./arguments.ts";

const roles = ["trader", "read-only", "admin"];

/** Who may do what, by which secrets. All of it is an admin's business. */
export function addAccountCommands(program: Command): void {
  const module = () => import("../accounts.ts");
  const update = async (account: string, change: AccountChange, options: AccountOptions) =>
    (await module()).updateAccount(account, change, options);

  const accounts = program
    .command("accounts")
    .description("who may trade (as admin): list (by default), create, suspend, role, rate, limits, keys, actions …")
    .addHelpText(
      "after",
      `
An account logs in with the secret of one of its keys (AuthService.IssueToken) and calls with the token that it gets. A
change is known to every ingest process within about a second, for tokens that are out as well.

Examples:
  $ penstock accounts create desk-1
  $ penstock accounts keys create desk-1 --expires 2030-01-31T12:00:00Z
  $ penstock accounts suspend desk-1
  $ penstock accounts actions`,
    );
  client(accounts.command("list", { isDefault: true }))
    .description("all accounts, by name")
    .action(async (options: AccountOptions) => (await module()).listAccounts(options));
  example(client(accounts.command("create <account>")), "penstock accounts create auditor --role read-only")
    .description("make an account with a first key; its secret is shown once")
    .addOption(new Option("--role <role>").choices(roles).default("trader"))
    .action(async (account: string, options: AccountOptions & { role: "trader" }) =>
      (await module()).createAccount(account, options),
    );
  client(accounts.command("suspend <account>"))
    .description("refuse everything that it asks for, cancels too; it gets no tokens")
    .action(async (account: string, options: AccountOptions) => update(account, { suspended: true }, options));
  client(accounts.command("resume <account>"))
    .description("end a suspension")
    .action(async (account: string, options: AccountOptions) => update(account, { suspended: false }, options));
  example(client(accounts.command("role <account>")), "penstock accounts role desk-1 read-only")
    .description("give it another role")
    .addArgument(new Argument("<role>").choices(roles))
    .action(async (account: string, role: "trader", options: AccountOptions) =>
      update(account, { role: (await module()).roleWords[role] }, options),
    );
  example(client(accounts.command("rate <account>")), "penstock accounts rate desk-1 500")
    .description("limit the orders and other calls that it may make a second, at each ingest process")
    .argument("<n>", "how many; 0 is the default of the deployment", wholeNumber(0, 1_000_000))
    .action(async (account: string, rateLimit: number, options: AccountOptions) =>
      update(account, { rateLimit }, options),
    );
  example(client(accounts.command("limits <account>")), "penstock accounts limits desk-1 --max-open-orders 500")
    .description("set the engine's limits of an account; what is not given is the default of the rules")
    .option("--max-open-orders <n>", "how many may be open at once, in each partition", wholeNumber(1, 4_000_000))
    .option("--max-quantity-lots <n>", "of one order, in lots of whatever symbol", wholeNumber(1, 999_999_999_999_999))
    .action(async (account: string, options: LimitOptions) => (await module()).setLimits(account, options));
  example(client(accounts.command("revoke-tokens <account>")), "penstock accounts revoke-tokens desk-1")
    .description("end every token that it has; its keys stay good for new ones")
    .action(async (account: string, options: AccountOptions) => (await module()).revokeTokens(account, options));
  example(client(accounts.command("actions")), "penstock accounts actions --limit 20")
    .description("the audit trail: what admins did, newest first")
    .option("--limit <n>", "how many", wholeNumber(1, 1_000), 100)
    .action(async (options: AccountOptions & { limit: number }) => (await module()).listActions(options));

  const keys = accounts.command("keys").description("the keys of an account: list, create, revoke");
  client(keys.command("list <account>"))
    .description("its keys, good ones first")
    .action(async (account: string, options: AccountOptions) => (await module()).listKeys(account, options));
  example(
    client(keys.command("create <account>")),
    "penstock accounts keys create desk-1 --expires 2030-01-31T12:00:00Z",
  )
    .description("one more key; its secret is shown once")
    .option("--expires <time>", "when it ends, with the tokens issued for it; never without it")
    .action(async (account: string, options: AccountOptions & { expires?: string }) =>
      (await module()).createKey(account, options),
    );
  example(client(keys.command("revoke <account> <key>")), "penstock accounts keys revoke desk-1 0123456789ab")
    .description("end a key, and the tokens issued for it")
    .action(async (account: string, key: string, options: AccountOptions) =>
      (await module()).revokeKey(account, key, options),
    );
}
