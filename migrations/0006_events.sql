-- What the engine made of the log: one row for each execution report (FIX 35=8, 9, r), and one for each trade.
-- Columns stand by width, widest first, so that no row pays for padding. Decimals are those of the instrument.
CREATE TABLE executions (
  ms bigint NOT NULL,           -- ms and seq are the ID of the entry that caused it
  seq bigint NOT NULL,
  sequence bigint NOT NULL,     -- the account's reports in the partition, from 1 without a gap; 0 where no more accounts fit
  trade bigint,                 -- TRADE: the symbol's number of it, under which `trades` has both sides
  index integer NOT NULL,       -- the report's place among the events of its entry
  command integer,              -- the index of the command in its entry; null where it is time's
  affected integer,             -- of a mass cancel
  remaining integer,
  partition smallint NOT NULL,
  epoch smallint NOT NULL,
  aggressor boolean,            -- TRADE: whether this order took liquidity
  order_id uuid,                -- null where no order is known
  other_order_id uuid,          -- of a prevented self-trade; the one that holds the client order id
  account text COLLATE "C" NOT NULL,
  symbol text NOT NULL,         -- "" of a mass cancel of all symbols
  exec_type text NOT NULL,
  status text,
  reason text,
  client_order_id text,         -- what a refused cancel or replace named, where no order is known
  client_request_id text,
  quantity numeric,
  price numeric,
  stop_price numeric,
  display_quantity numeric,
  cum_quantity numeric,
  leaves_quantity numeric,
  traded_value numeric,         -- the sum of price × quantity over all fills; by cum_quantity it is the average price
  last_quantity numeric,
  last_price numeric,
  PRIMARY KEY (partition, epoch, ms, seq, index)
) PARTITION BY RANGE (ms);
-- What a row costs Postgres, µs of CPU in COPYs of some 10,000 into 200,000 rows of 100 accounts, on a quiet machine: the table
-- itself 2.5, its key 0.9 (it grows at its end), the accounts' index 1.8 (one growing place an account; 0.6 more with the whole
-- place in it). A key that began with the account instead cost 2.5 and would need a BRIN of 0.4 for those who read all accounts.
-- By order there is none: an order's reports lie in its account's, between its own time and that of its state.
CREATE INDEX executions_account ON executions (account, partition, epoch, ms);

CREATE TABLE trades (
  ms bigint NOT NULL,
  seq bigint NOT NULL,
  trade bigint NOT NULL,        -- the symbol's trades, from 1 without a gap
  buy_order_id uuid NOT NULL,
  sell_order_id uuid NOT NULL,
  partition smallint NOT NULL,
  epoch smallint NOT NULL,
  symbol text COLLATE "C" NOT NULL,
  buy_account text NOT NULL,
  sell_account text NOT NULL,
  aggressor text NOT NULL,      -- BUY or SELL
  price numeric NOT NULL,
  quantity numeric NOT NULL,
  PRIMARY KEY (symbol, trade, ms)
) PARTITION BY RANGE (ms);

-- One row an order: its newest state. Whichever state comes first, the one of the highest position stays. Partitioned as
-- orders are, by the time in the id.
CREATE TABLE order_states (
  order_id uuid PRIMARY KEY,
  ms bigint NOT NULL,           -- of the newest event; position is epoch, ms, seq, index
  seq bigint NOT NULL,
  index integer NOT NULL,
  epoch smallint NOT NULL,
  open boolean NOT NULL,
  triggered boolean NOT NULL,
  account text COLLATE "C" NOT NULL,
  symbol text NOT NULL,
  status text NOT NULL,
  reason text,
  quantity numeric NOT NULL,
  price numeric,
  stop_price numeric,
  display_quantity numeric,
  cum_quantity numeric NOT NULL,
  leaves_quantity numeric NOT NULL,
  traded_value numeric NOT NULL
) PARTITION BY RANGE (order_id);
CREATE INDEX order_states_open ON order_states (account, order_id) WHERE open;

-- What people ask for: an order as it was submitted, with its state. PENDING_NEW where the engine has not come to it.
CREATE VIEW orders_current AS
  SELECT o.order_id, o.client_order_id, o.account, o.symbol, o.side, o.type, o.time_in_force,
         coalesce(s.quantity, o.quantity) AS quantity,
         CASE WHEN s.order_id IS NULL THEN o.price ELSE s.price END AS price,
         CASE WHEN s.order_id IS NULL THEN o.stop_price ELSE s.stop_price END AS stop_price,
         CASE WHEN s.order_id IS NULL THEN o.display_quantity ELSE s.display_quantity END AS display_quantity,
         o.expire_time, o.post_only, o.self_trade_prevention,
         coalesce(s.status, 'PENDING_NEW') AS status,
         coalesce(s.open, true) AS open,
         coalesce(s.cum_quantity, 0) AS cum_quantity,
         coalesce(s.leaves_quantity, o.quantity) AS leaves_quantity,
         s.traded_value / nullif(s.cum_quantity, 0) AS average_price,
         s.reason, o.created_at,
         coalesce(to_timestamp(s.ms / 1000.0), o.created_at) AS updated_at
  FROM orders o LEFT JOIN order_states s USING (order_id);

-- Points from which an engine can start again, checked by the engine's own hash. The data lie in parts of at most a
-- mebibyte, since they may be hundreds of them: neither side then holds more than a part of it as a row.
CREATE TABLE engine_snapshots (
  partition smallint NOT NULL,
  epoch smallint NOT NULL,
  ms bigint NOT NULL,           -- the entry behind which it was taken
  seq bigint NOT NULL,
  rules integer NOT NULL,
  kept boolean NOT NULL,        -- at a switch of rules: never removed, so that old history can be replayed
  state_hash bigint NOT NULL,
  entry_hash bytea NOT NULL,    -- SHA-256 of the entry's payload: it lies on the chain where the journal or the log has the same
  bytes bigint NOT NULL,        -- of all parts
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (partition, epoch, ms, seq)
);

CREATE TABLE engine_snapshot_parts (
  partition smallint NOT NULL,
  epoch smallint NOT NULL,
  ms bigint NOT NULL,
  seq bigint NOT NULL,
  part integer NOT NULL,        -- from 0
  data bytea NOT NULL,
  PRIMARY KEY (partition, epoch, ms, seq, part),
  FOREIGN KEY (partition, epoch, ms, seq) REFERENCES engine_snapshots ON DELETE CASCADE
);
ALTER TABLE engine_snapshot_parts ALTER COLUMN data SET STORAGE EXTERNAL;
