-- Removes consumers of a group that are long gone: which hold nothing, and have not been heard of for a while. Looking and
-- removing are one step, because XGROUP DELCONSUMER throws away what a consumer holds: one that reads meanwhile does so before,
-- and is left alone, or after, and Redis makes it anew.
--
-- KEYS  1 stream
-- ARGV  1 group; 2 from how many ms of silence on; 3 how many to remove at most; 4 the caller's own consumer, which is heard of now
--
-- Returns the names of those removed. None where there is no such stream or group.
local removed = {}
if redis.call('EXISTS', KEYS[1]) == 0 then return removed end
-- A read of its own entries behind the last there can be: it brings nothing and changes no entry. Redis 7.0 does not count a
-- blocking read that found nothing as a sign of life.
local heard = redis.pcall('XREADGROUP', 'GROUP', ARGV[1], ARGV[4], 'COUNT', 1, 'STREAMS', KEYS[1], '18446744073709551615-0')
if heard and heard.err then
  if string.find(heard.err, 'NOGROUP') then return removed end
  return heard
end
local consumers = redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])

for _, consumer in ipairs(consumers) do
  if #removed >= tonumber(ARGV[3]) then break end
  local info = {}
  for i = 1, #consumer, 2 do info[consumer[i]] = consumer[i + 1] end
  if info['pending'] == 0 and info['idle'] >= tonumber(ARGV[2]) and info['name'] ~= ARGV[4] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], info['name'])
    table.insert(removed, info['name'])
  end
end
return removed
