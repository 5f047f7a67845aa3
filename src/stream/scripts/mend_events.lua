-- Makes the events stream of a partition anew, empty and with its groups at the beginning, where it ends before the last ID that
-- it was given: entries were removed from its end, which nothing of ours does.
--
-- KEYS  1 events, 2 head
-- ARGV  1 run id and 2 epoch of the log that the caller knows
--
-- Returns 1, or 0 where it is as it must be, or the log is not the one that the caller knows: then nothing was written.
local EVENTS, HEAD = unpack(KEYS)
local head = redis.call('HMGET', HEAD, 'run', 'epoch')
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] or redis.call('EXISTS', EVENTS) == 0 then return 0 end

local newest = redis.call('XREVRANGE', EVENTS, '+', '-', 'COUNT', 1)[1]
local last = newest and newest[1] or '0-0'
local info = redis.call('XINFO', 'STREAM', EVENTS)
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' and info[i + 1] == last then return 0 end
end

local groups = redis.call('XINFO', 'GROUPS', EVENTS)
redis.call('UNLINK', EVENTS)
for _, group in ipairs(groups) do
  for i = 1, #group, 2 do
    if group[i] == 'name' then redis.call('XGROUP', 'CREATE', EVENTS, group[i + 1], '0', 'MKSTREAM') end
  end
end
return 1
