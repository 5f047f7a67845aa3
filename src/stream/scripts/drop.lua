-- Empties the log of a partition for the one who is about to open it, where its end was given up: what is left is the claim, as if
-- the server had come up empty and had been shut.
--
-- KEYS  1 head, 2… all else that stands there of the partition
-- ARGV  1 claim and 2 last that the head must still name ("0-0" for none)
--
-- Returns 1, or 0 where another opener was quicker: then nothing was removed.
local head = redis.call('HMGET', KEYS[1], 'run', 'last')
if (head[1] or '') ~= ARGV[1] or (head[2] or '0-0') ~= ARGV[2] then return 0 end
-- UNLINK frees in the background.
redis.call('UNLINK', unpack(KEYS))
redis.call('HSET', KEYS[1], 'run', ARGV[1])
return 1
