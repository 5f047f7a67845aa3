-- One row for each log entry: the receipt that says its rows are written, and for the orders stream the entry itself.
-- Ranges of ms are days (UTC); there is no DEFAULT partition, because one would take rows in silence that must then be
-- moved before the day's own partition can be attached.
CREATE TABLE journal (
  stream smallint NOT NULL,     -- 0 orders, 1 events
  partition smallint NOT NULL,
  epoch smallint NOT NULL,
  ms bigint NOT NULL,           -- ms and seq are the Redis entry ID
  seq bigint NOT NULL,
  prev_ms bigint NOT NULL,      -- the entry before it in its stream; 0-0 for the first
  prev_seq bigint NOT NULL,
  version smallint NOT NULL,    -- of the payload's schema
  commands integer NOT NULL,
  hash bytea NOT NULL CHECK (octet_length(hash) = 32), -- SHA-256 of the payload
  payload bytea,                -- null for events
  PRIMARY KEY (stream, partition, epoch, ms, seq)
) PARTITION BY RANGE (ms);

-- Not compressed: pglz took 1 µs of CPU a command (85 bytes of protobuf) of the 1.7 µs that a receipt of 500 commands costs,
-- to save 40 bytes of WAL and disk.
ALTER TABLE journal ALTER COLUMN payload SET STORAGE EXTERNAL;
