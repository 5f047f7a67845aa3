-- Gaps of a partition's log that operators had closed: one row for each, written with the empty entry that stands in the gap since.
-- What is later of the entries between the two places is no part of the log. Never removed.
CREATE TABLE log_closings (
  partition smallint NOT NULL,
  epoch smallint NOT NULL,       -- the entry that stands there: under the ID of the last one that was missing
  ms bigint NOT NULL,
  seq bigint NOT NULL,
  hash bytea NOT NULL,           -- of its payload
  after_epoch smallint NOT NULL, -- the last entry before the gap; 0 and 0-0 where that is the log's beginning
  after_ms bigint NOT NULL,
  after_seq bigint NOT NULL,
  withdrawn integer NOT NULL,    -- entries whose events were taken back by the call that closed it
  snapshots integer NOT NULL,    -- snapshots that were removed
  closed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (partition, ms, seq)
);
