-- Appends one flush of an ingest process to the log of a partition: at most one entry, at most once.
--
-- KEYS  1 orders, 2 head, 3 instruments, 4 seen:<g>, 5 seen:<g-1>, 6 seen:<g+1>, 7 flush:<process>
-- ARGV  1 counter of this flush, rising with each new one of the process
--       2 g, the generation of keys that the caller knows
--       3 run id and 4 epoch that the caller knows
--       5 ID of the last entry that the caller acknowledged in that epoch
--       6 caller's clock, ms; 7 how far Redis' clock may be ahead of it, ms
--       8 schema version; 9 the encoded commands, one behind the other
--      10 their lengths, 4 bytes each, big-endian
--      11 for each, 16 bytes idempotency key and 8 bytes payload hash
--      12 how long a generation lasts, ms; 13 how many keys it may hold
--      14 how long the answer of a flush is kept, ms
--      15… for each instrument defined: symbol, present definition ("" for none), new definition
--
-- Returns {"OK", g, epoch, entry ID or "", {i, seen, i, seen, …}}: each i (from 0) is a command that was not appended because
--         its key was seen, with its first payload hash and place (22 bytes: hash 8, epoch 2, ms 6, sequence 4,
--         index 2, big-endian). The others stand in the entry in their order. The same answer again for a flush that
--         is sent again; also then this script has written, so that a WAIT behind it covers the first time.
--      or {"RUN"} the server is not the one that the log was opened on, or not the one that the caller knows;
--         {"EPOCH"} another epoch began;
--         {"BEHIND", last} the log ends before what the caller acknowledged; {"MISSING"} there is no stream;
--         {"CLOCK", ms}; {"GENERATION", g}; {"STALE", counter} a later flush of the process is in already;
--         {"CHANGED", symbol} the instrument is not the one given. Then nothing was written.
local ORDERS, HEAD, INSTRUMENTS, CURRENT, PREVIOUS, NEXT, FLUSH = unpack(KEYS)

local function ms_seq(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local head = redis.call('HMGET', HEAD, 'run', 'epoch', 'last', 'generation', 'turned')
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if head[1] ~= run or ARGV[3] ~= run then return {'RUN'} end

local counter = tonumber(ARGV[1])
local flushed = redis.call('HMGET', FLUSH, 'counter', 'answer')
if flushed[1] then
  if tonumber(flushed[1]) == counter then
    redis.call('PEXPIRE', FLUSH, ARGV[14])
    return cmsgpack.unpack(flushed[2])
  end
  if tonumber(flushed[1]) > counter then return {'STALE', flushed[1]} end
end

if head[2] ~= ARGV[4] then return {'EPOCH'} end
local last_ms, last_seq = ms_seq(head[3])
local acked_ms, acked_seq = ms_seq(ARGV[5])
if acked_ms > last_ms or (acked_ms == last_ms and acked_seq > last_seq) then return {'BEHIND', head[3]} end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[6]) + tonumber(ARGV[7]) then return {'CLOCK', tostring(now)} end
if head[4] ~= ARGV[2] then return {'GENERATION', head[4]} end
if redis.call('EXISTS', ORDERS) == 0 then return {'MISSING'} end

for i = 15, #ARGV, 3 do
  if (redis.call('HGET', INSTRUMENTS, ARGV[i]) or '') ~= ARGV[i + 1] then return {'CHANGED', ARGV[i]} end
end

local generation = head[4]
if now - tonumber(head[5]) >= tonumber(ARGV[12]) or redis.call('HLEN', CURRENT) >= tonumber(ARGV[13]) then
  -- UNLINK frees in the background; a DEL of a million fields blocks the server for 0.4 s.
  redis.call('UNLINK', PREVIOUS)
  CURRENT, PREVIOUS = NEXT, CURRENT
  generation = string.format('%d', generation + 1)
  redis.call('HSET', HEAD, 'generation', generation, 'previous', head[5], 'turned', string.format('%d', now))
end

local count = #ARGV[10] / 4
local keys = {}
for i = 1, count do keys[i] = string.sub(ARGV[11], i * 24 - 23, i * 24 - 8) end
local current = redis.call('HMGET', CURRENT, unpack(keys))
local previous = redis.call('HMGET', PREVIOUS, unpack(keys))

-- Which commands are new: `kept` lists them, `first` finds the place of one that this flush repeats.
local duplicates, repeated, kept, first = {}, {}, {}, {}
for i = 1, count do
  local key = keys[i]
  local seen = current[i] or previous[i]
  if seen then
    duplicates[#duplicates + 1] = i - 1
    duplicates[#duplicates + 1] = seen
  elseif first[key] then
    duplicates[#duplicates + 1] = i - 1
    duplicates[#duplicates + 1] = key
    repeated[#repeated + 1] = #duplicates
  else
    kept[#kept + 1] = i
    first[key] = #kept
  end
end

local id = ''
if #kept > 0 then
  local batch = ARGV[9]
  if #kept < count then
    local offsets, at = {}, 1
    for i = 1, count do
      offsets[i] = at
      at = at + struct.unpack('>I4', ARGV[10], i * 4 - 3)
    end
    offsets[count + 1] = at
    local elements = {}
    for k, i in ipairs(kept) do elements[k] = string.sub(batch, offsets[i], offsets[i + 1] - 1) end
    batch = table.concat(elements)
  end
  id = redis.call('XADD', ORDERS, '*', 'd', batch, 'p', head[3], 'e', head[2], 'v', ARGV[8])
  local ms, seq = ms_seq(id)
  local entry = struct.pack('>I2I6I4', tonumber(head[2]), ms, seq)
  local fields = {}
  for k, i in ipairs(kept) do
    local value = string.sub(ARGV[11], i * 24 - 7, i * 24) .. entry .. struct.pack('>I2', k - 1)
    fields[#fields + 1] = keys[i]
    fields[#fields + 1] = value
    first[keys[i]] = value
  end
  redis.call('HSET', CURRENT, unpack(fields))
  redis.call('HSET', HEAD, 'last', id)
  for _, at in ipairs(repeated) do duplicates[at] = first[duplicates[at]] end
  for i = 15, #ARGV, 3 do
    redis.call('HSET', INSTRUMENTS, ARGV[i], ARGV[i + 2])
    redis.call('HINCRBY', HEAD, 'defined', 1)
  end
end

local answer = {'OK', generation, head[2], id, duplicates}
redis.call('HSET', FLUSH, 'counter', ARGV[1], 'answer', cmsgpack.pack(answer))
redis.call('PEXPIRE', FLUSH, ARGV[14])
return answer
