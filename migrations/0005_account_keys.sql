-- Accounts as a team runs them: several keys each, roles and limits that change, tokens that end before their time, and a
-- record of who changed what.

-- Every change of an account or a revocation takes the next number and holds this row until it commits. So changes become
-- visible in the order of their numbers, and whoever has seen one has seen all before it.
CREATE TABLE account_revision (
  number bigint NOT NULL
);
INSERT INTO account_revision VALUES (0);

ALTER TABLE accounts
  ADD suspended boolean NOT NULL DEFAULT false,
  ADD rate_limit integer NOT NULL DEFAULT 0, -- orders and calls a second; 0 is the deployment's default
  ADD generation integer NOT NULL DEFAULT 0, -- tokens of an earlier one have ended
  ADD revision bigint NOT NULL DEFAULT 0;    -- the number of the last change
CREATE INDEX accounts_revision ON accounts (revision);

CREATE TABLE account_keys (
  id text PRIMARY KEY,          -- stands in front of the secret: "<id>.<43 characters>"
  account text NOT NULL REFERENCES accounts (name),
  bare boolean NOT NULL,        -- its secret has no id in front: made before there were ids, or given by the environment
  secret_hash text NOT NULL,    -- of the secret as a client gives it
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  revoked_at timestamptz
);
CREATE INDEX account_keys_account ON account_keys (account, created_at);
-- A secret without an id must tell its key all the same.
CREATE UNIQUE INDEX account_keys_bare ON account_keys (account) WHERE bare AND revoked_at IS NULL;

INSERT INTO account_keys (id, account, bare, secret_hash, created_at)
  SELECT substr(replace(gen_random_uuid()::text, '-', ''), 1, 12), name, true, secret_hash, created_at FROM accounts;
ALTER TABLE accounts DROP COLUMN secret_hash;

-- Tokens that were revoked one by one, and keys whose tokens ended with them, until the last such token would have ended anyway.
CREATE TABLE revocations (
  id text PRIMARY KEY,          -- of a token or of a key
  account text NOT NULL,
  expires_at timestamptz NOT NULL,
  revision bigint NOT NULL
);
CREATE INDEX revocations_revision ON revocations (revision);
CREATE INDEX revocations_account ON revocations (account, expires_at);

-- Who asked for what, kept for ever. What stands in Postgres is written in one transaction with its line here; what goes to the
-- log is first written down as asked.
CREATE TABLE admin_actions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  actor text NOT NULL,          -- an account, or "(environment)" for what the configuration asks for
  action text NOT NULL,         -- the method
  subject text NOT NULL,        -- an account or a symbol
  outcome text NOT NULL,        -- done, refused, or asked: the answer did not come here, the log has it
  details jsonb NOT NULL        -- names and texts, no secrets
);
