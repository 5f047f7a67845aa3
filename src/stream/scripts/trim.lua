-- Trims a stream to what its groups, the replay horizon and an engine's newest snapshot still need. Only this script trims.
--
-- KEYS  1 stream; 2 for the orders stream: engine
-- ARGV  1 replay horizon, ms; 2 how many entries to remove at most; 3 caller's clock, ms
--       4… the groups that must be there, all of them and no other
--
-- Returns {removed, the ID below which entries were removed}; or an error GROUPS, where the groups are not those
--         given: then nothing was removed.
local needed = {}
for i = 4, #ARGV do needed[ARGV[i]] = true end

local function before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  a_ms, b_ms = tonumber(a_ms), tonumber(b_ms)
  return a_ms < b_ms or (a_ms == b_ms and tonumber(a_seq) < tonumber(b_seq))
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- The horizon is counted from the clock that is behind: one that has jumped ahead would cut it short.
now = math.min(now, tonumber(ARGV[3]))
local threshold = string.format('%d-0', math.max(now - tonumber(ARGV[1]), 0))
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, '0-0'} end

for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local info = {}
  for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
  if not needed[info['name']] then
    return redis.error_reply('GROUPS the stream has a group that is not configured: ' .. info['name'])
  end
  needed[info['name']] = nil
  -- What a group needs begins with its smallest pending entry, or behind the last one delivered.
  local oldest = info['last-delivered-id']
  if info['pending'] > 0 then oldest = redis.call('XPENDING', KEYS[1], info['name'])[2] end
  if before(oldest, threshold) then threshold = oldest end
end
-- An engine starts from its newest stored snapshot and reads what is behind it; where it has stored none yet, all. Where no
-- engine was ever part of the deployment there is no such key, and no such bound.
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then
  local snapshot = redis.call('HGET', KEYS[2], 'snapshot') or '0-0'
  if before(snapshot, threshold) then threshold = snapshot end
end
local missing = next(needed)
if missing then return redis.error_reply('GROUPS the stream lacks the group ' .. missing) end

-- MINID keeps the threshold itself: one entry too many at the most. "~" removes whole nodes only.
return {redis.call('XTRIM', KEYS[1], 'MINID', '~', threshold, 'LIMIT', ARGV[2]), threshold}
