-- Shuts the log of a partition, by compare-and-set, for the one who is about to open it in a new epoch: from then on nothing is
-- appended, and whoever else wanted to open it has to look again.
--
-- KEYS  1 head
-- ARGV  1 run, 2 last and 3 epoch that the head must still name ("", "0-0" and "0" for none)
--       4 the claim, which stands in the place of the run id until the log is open
--
-- Returns 1, or 0 where somebody else was quicker: then nothing was written.
local head = redis.call('HMGET', KEYS[1], 'run', 'last', 'epoch')
if (head[1] or '') ~= ARGV[1] or (head[2] or '0-0') ~= ARGV[2] or (head[3] or '0') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'run', ARGV[4])
return 1
