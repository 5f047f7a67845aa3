-- Puts one entry back that the journal has and the log lost, under its own ID, with its idempotency keys.
-- Only while the partition is shut, and only as the next one behind the present end: so two that open at once cannot
-- put an entry back twice or out of order.
--
-- KEYS  1 orders, 2 head, 3 seen:<g>, 4 seen:<g-2>
-- ARGV  1 claim that the head must still name, 2 end of the log that the head must still name ("0-0" for none)
--       3 ID of the entry; 4 its predecessor, 5 its epoch, 6 its schema version
--       7 the batch, "" where only the keys are to be put back (the entry is older than the replay horizon)
--       8 g, the generation of keys: the head's, or the next one, which then begins
--       9 where the log ended before anything was put back
--      10 where there is a gap before this entry: "<epoch> <ID>" of the one before it, else ""
--      11… idempotency key and seen value (22 bytes) of each command
--
-- Returns 1, or 0 where another opener was quicker: then nothing was written.
local ORDERS, HEAD, SEEN, DROPPED = unpack(KEYS)
local head = redis.call('HMGET', HEAD, 'run', 'last', 'generation', 'turned')
if (head[1] or '') ~= ARGV[1] or (head[2] or '0-0') ~= ARGV[2] then return 0 end
if ARGV[7] ~= '' then
  redis.call('XADD', ORDERS, ARGV[3], 'd', ARGV[7], 'p', ARGV[4], 'e', ARGV[5], 'v', ARGV[6])
end
if head[3] ~= ARGV[8] then
  local time = redis.call('TIME')
  local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
  redis.call('UNLINK', DROPPED)
  redis.call('HSET', HEAD, 'generation', ARGV[8], 'previous', head[4] or now, 'turned', now)
end
for i = 11, #ARGV, 2 do redis.call('HSETNX', SEEN, ARGV[i], ARGV[i + 1]) end
redis.call('HSET', HEAD, 'last', ARGV[3], 'epoch', ARGV[5])
-- Whoever opens must know from where on the log had lost something, although it finds all of it there again.
redis.call('HSETNX', HEAD, 'restored', ARGV[9])
if ARGV[10] ~= '' then
  redis.call('HSETNX', HEAD, 'gap', ARGV[10])
  redis.call('HSET', HEAD, 'gap_until', ARGV[3])
end
return 1
