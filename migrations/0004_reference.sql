CREATE TABLE accounts (
  name text PRIMARY KEY,
  role text NOT NULL,
  secret_hash text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- The newest definition of each symbol, with the place of its command.
CREATE TABLE instruments (
  symbol text PRIMARY KEY,
  version bigint NOT NULL,
  partition smallint NOT NULL,
  epoch smallint NOT NULL,
  ms bigint NOT NULL,
  seq bigint NOT NULL,
  index integer NOT NULL,
  definition bytea NOT NULL,    -- penstock.v1.Instrument
  updated_at timestamptz NOT NULL -- the time of the command, so that any order of writing gives the same row
);

-- What is fixed once for a deployment.
CREATE TABLE settings (
  key text PRIMARY KEY,
  value text NOT NULL
);
