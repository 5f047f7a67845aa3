-- Appends event entries of consecutive commands to the events stream of a partition: all of them, behind the entry that
-- the caller knows as the newest, or none. With them, where the newest event of each order stands.
--
-- KEYS  1 events, 2 head, 3 engine, 4 status:<g>, 5 status:<g-1>, 6 status:<g+1>
-- ARGV  1 run id and 2 epoch of the log that the caller knows
--       3 ID of the newest event entry that the caller knows, "0-0" for none
--       4 g, the generation of `status` that the caller knows
--       5 how long a generation lasts, ms; 6 how many orders it may hold
--       7 schema version; 8 ID of the command before the first one
--       9 for each order touched: its id, 16 bytes, and the place of its newest event, 12 bytes (ms 6, sequence 4,
--         index 2, big-endian); of one order that comes twice the last counts
--      10… for each entry: the ID of its command, the epoch, the encoded events
--
-- Returns {"OK", g}; or {"LAST", id} the newest entry is another one; {"RUN"} the server is not the one that the log was
--         opened on, or not the one that the caller knows; {"EPOCH"} another epoch began: then commands that the caller
--         worked may be in the log no more; {"GENERATION", g}. Then nothing was written.
local EVENTS, HEAD, ENGINE, CURRENT, PREVIOUS, NEXT = unpack(KEYS)

local head = redis.call('HMGET', HEAD, 'run', 'epoch')
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if head[1] ~= run or ARGV[1] ~= run then return {'RUN'} end
if head[2] ~= ARGV[2] then return {'EPOCH'} end

local newest = redis.call('XREVRANGE', EVENTS, '+', '-', 'COUNT', 1)[1]
local last = newest and newest[1] or '0-0'
if last ~= ARGV[3] then return {'LAST', last} end

local engine = redis.call('HMGET', ENGINE, 'generation', 'turned')
local generation = engine[1] or '1'
if generation ~= ARGV[4] then return {'GENERATION', generation} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not engine[2] then
  redis.call('HSET', ENGINE, 'generation', generation, 'turned', string.format('%d', now))
elseif now - tonumber(engine[2]) >= tonumber(ARGV[5]) or redis.call('HLEN', CURRENT) >= tonumber(ARGV[6]) then
  -- UNLINK frees in the background; a DEL of a million fields blocks the server for 0.4 s.
  redis.call('UNLINK', PREVIOUS)
  CURRENT = NEXT
  generation = string.format('%d', generation + 1)
  redis.call('HSET', ENGINE, 'generation', generation, 'turned', string.format('%d', now))
end

local previous = ARGV[8]
for i = 10, #ARGV, 3 do
  redis.call('XADD', EVENTS, ARGV[i], 'd', ARGV[i + 2], 'p', previous, 'e', ARGV[i + 1], 'v', ARGV[7])
  previous = ARGV[i]
end

-- Lua's unpack takes some 8,000 values.
local touched, fields = ARGV[9], {}
for at = 1, #touched, 28 do
  fields[#fields + 1] = string.sub(touched, at, at + 15)
  fields[#fields + 1] = string.sub(touched, at + 16, at + 27)
  if #fields == 4000 then
    redis.call('HSET', CURRENT, unpack(fields))
    fields = {}
  end
end
if #fields > 0 then redis.call('HSET', CURRENT, unpack(fields)) end
return {'OK', generation}
