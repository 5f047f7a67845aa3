-- What could not be written, with its bytes and the reason. index is the command's place in its entry, -1 the whole entry.
CREATE TABLE dead_letters (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream smallint NOT NULL,
  partition smallint NOT NULL,
  epoch smallint NOT NULL,
  ms bigint NOT NULL,
  seq bigint NOT NULL,
  index integer NOT NULL,
  raw bytea NOT NULL,
  sqlstate text,                -- null where Postgres was not asked
  reason text NOT NULL,
  attempts integer NOT NULL,    -- deliveries of the entry up to then
  created_at timestamptz NOT NULL DEFAULT now()
);

-- A redelivery adds none; another payload at the same place (a fork) does.
CREATE UNIQUE INDEX dead_letters_place ON dead_letters (stream, partition, epoch, ms, seq, index, sha256(raw));
