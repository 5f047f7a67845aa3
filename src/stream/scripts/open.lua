-- Opens the log of a partition on this server, by compare-and-set.
--
-- KEYS  1 orders, 2 head, 3 instruments, 4 events
-- ARGV  1 run (or claim) and 2 last that the head must still name ("0-0" for none); 3 this server's run id
--       4 epoch to begin, or go on with; 5 the ID behind which new entries must come
--       6 "again" where the groups of the events are to read all that is there once more, else ""
--       7 generation of keys to go on with, where the head names none
--       8 number of groups of the orders, then their names; as much of the events; then symbol and definition of each
--         instrument to put back
--
-- Returns 1, or 0 where another opener was quicker: then nothing was written.
local ORDERS, HEAD, INSTRUMENTS, EVENTS = unpack(KEYS)
local head = redis.call('HMGET', HEAD, 'run', 'last', 'epoch', 'generation')
if (head[1] or '') ~= ARGV[1] or (head[2] or '0-0') ~= ARGV[2] then return 0 end
if string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') ~= ARGV[3] then return 0 end

local function delivered(stream, group)
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local of = {}
    for i = 1, #info, 2 do of[info[i]] = info[i + 1] end
    if of['name'] == group then return of['last-delivered-id'] end
  end
end

local at = 8
for _, stream in ipairs({ORDERS, EVENTS}) do
  local groups = tonumber(ARGV[at])
  for i = at + 1, at + groups do
    local group = ARGV[i]
    -- At 0, never at $: what is in the log must reach every group. BUSYGROUP says that it is there already.
    redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
    -- A server that restarted (7.0 does) knows of how many entries a group had read when its file was last rewritten, and its lag
    -- is too large by what came since, for ever. Without that number it is unknown until the group comes to the end.
    local again = stream == EVENTS and ARGV[6] == 'again'
    redis.call('XGROUP', 'SETID', stream, group, again and '0' or delivered(stream, group))
  end
  at = at + groups + 1
end
for i = at, #ARGV, 2 do redis.call('HSET', INSTRUMENTS, ARGV[i], ARGV[i + 1]) end
redis.call('HINCRBY', HEAD, 'defined', 1)

local function before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  a_ms, b_ms = tonumber(a_ms), tonumber(b_ms)
  return a_ms < b_ms or (a_ms == b_ms and tonumber(a_seq) < tonumber(b_seq))
end

-- IDs never go back, even where entries were too old to be put back and the clock is behind.
local info = redis.call('XINFO', 'STREAM', ORDERS)
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' and before(info[i + 1], ARGV[5]) then redis.call('XSETID', ORDERS, ARGV[5]) end
end

if not head[4] then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', HEAD, 'generation', ARGV[7], 'turned', string.format('%d', now))
end
if head[3] ~= ARGV[4] then redis.call('HSET', HEAD, 'epoch', ARGV[4], 'base', ARGV[5]) end
redis.call('HSET', HEAD, 'run', ARGV[3], 'last', ARGV[5])
redis.call('HDEL', HEAD, 'restored')
return 1
