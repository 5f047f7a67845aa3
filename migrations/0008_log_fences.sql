-- Where each epoch of a partition's log began that may lack something of those before it: one row for each opening after
-- which entries may be in a worker's hands that the log has no more. Written before the log is opened, and never removed.
--
-- The log of epoch N is what stood up to the base, whose epoch may be more than one lower, and the entries of epoch N behind
-- it. Up to `from` the stream itself still had everything; between the two stands what was put back from the journal.
CREATE TABLE log_fences (
  partition smallint NOT NULL,
  epoch smallint NOT NULL,
  base_epoch smallint NOT NULL, -- the end of the log when the epoch began; 0 and 0-0 where there was none
  base_ms bigint NOT NULL,
  base_seq bigint NOT NULL,
  from_ms bigint NOT NULL,
  from_seq bigint NOT NULL,
  claim text NOT NULL,          -- what stood in Redis meanwhile: tells one opening from another that wants the same epoch
  opened_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (partition, epoch)
);

-- One more kind. orphaned: the log had lost the entry when it was opened, and went on without it.
ALTER TABLE dead_letters ALTER COLUMN kind SET EXPRESSION AS (
  CASE WHEN reason = 'FORK' THEN 'fork'
       WHEN index = -1 AND starts_with(reason, 'ORPHANED:') THEN 'orphaned'
       WHEN epoch = 0 AND starts_with(reason, 'LOST:') THEN 'lost'
       WHEN epoch = 0 THEN 'foreign'
       WHEN sqlstate IS NOT NULL THEN 'refused'
       ELSE 'unreadable' END
);
