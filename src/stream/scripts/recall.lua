-- Puts the idempotency keys of one entry back that fills a gap in the log: all of them, or none.
--
-- KEYS  1 head, 2 seen:<g>, 3 seen:<g-1>
-- ARGV  1 run id or claim that the head must still name, 2 g, the generation of keys that it must still name
--       3… idempotency key and seen value (22 bytes) of each command
--
-- Returns 1; 0 where a key stands for another command; -1 where the head names something else. In both cases nothing was written.
local HEAD, CURRENT, PREVIOUS = unpack(KEYS)
local head = redis.call('HMGET', HEAD, 'run', 'generation')
if head[1] ~= ARGV[1] or (head[2] or '1') ~= ARGV[2] then return -1 end
for i = 3, #ARGV, 2 do
  local seen = redis.call('HGET', CURRENT, ARGV[i]) or redis.call('HGET', PREVIOUS, ARGV[i])
  if seen and seen ~= ARGV[i + 1] then return 0 end
end
for i = 3, #ARGV, 2 do redis.call('HSETNX', CURRENT, ARGV[i], ARGV[i + 1]) end
return 1
