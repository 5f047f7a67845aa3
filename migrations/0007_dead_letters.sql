-- What became of each dead letter. None is ever removed, and a worker of before this writes them as it did: open.
ALTER TABLE dead_letters
  ADD COLUMN state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'redriven', 'discarded')),
  ADD COLUMN settled_at timestamptz,    -- when it was redriven or discarded, and by whose call
  ADD COLUMN settled_by text,
  ADD COLUMN note text,                 -- why it was discarded
  ADD CONSTRAINT dead_letters_settled CHECK (
    (state = 'open') = (settled_at IS NULL) AND (settled_at IS NULL) = (settled_by IS NULL)
    AND (state = 'discarded') = (note IS NOT NULL)
  ),
  -- fork: the journal has another payload in the place of this entry. lost: the entry was gone from its stream. foreign: what
  -- stood there was no entry of ours. refused: Postgres did not take the row. unreadable: no row could be made of it.
  ADD COLUMN kind text NOT NULL GENERATED ALWAYS AS (
    CASE WHEN reason = 'FORK' THEN 'fork'
         WHEN epoch = 0 AND starts_with(reason, 'LOST:') THEN 'lost'
         WHEN epoch = 0 THEN 'foreign'
         WHEN sqlstate IS NOT NULL THEN 'refused'
         ELSE 'unreadable' END
  ) STORED;

-- For those who list what is open, and who count it at each scrape.
CREATE INDEX dead_letters_open ON dead_letters (id) INCLUDE (stream, kind) WHERE state = 'open';
