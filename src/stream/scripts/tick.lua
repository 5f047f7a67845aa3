-- Appends an entry that says only that time went on: where an order is due, the log is quiet, and no one did it yet.
--
-- KEYS  1 orders, 2 head
-- ARGV  1 run id and 2 epoch of the log that the caller knows; 3 ID of its newest entry, as the caller knows it
--       4 when the order is due, ms
--       5 caller's clock, ms; 6 how far Redis' clock may be ahead of it, ms
--       7 schema version; 8 the encoded batch
--
-- Returns {"OK", entry ID}; or {"RUN"} the server is not the one that the log was opened on, or not the one that the
--         caller knows; {"EPOCH"} another epoch began; {"MOVED"} the log is no longer at that entry; {"EARLY", ms} by Redis'
--         clock the order is not due yet; {"CLOCK", ms}. Then nothing was written.
local ORDERS, HEAD = unpack(KEYS)

local head = redis.call('HMGET', HEAD, 'run', 'epoch', 'last')
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if head[1] ~= run or ARGV[1] ~= run or redis.call('EXISTS', ORDERS) == 0 then return {'RUN'} end
if head[2] ~= ARGV[2] then return {'EPOCH'} end
if head[3] ~= ARGV[3] then return {'MOVED'} end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[5]) + tonumber(ARGV[6]) then return {'CLOCK', string.format('%d', now)} end
if now < tonumber(ARGV[4]) then return {'EARLY', string.format('%d', now)} end

local id = redis.call('XADD', ORDERS, '*', 'd', ARGV[8], 'p', head[3], 'e', head[2], 'v', ARGV[7])
redis.call('HSET', HEAD, 'last', id)
return {'OK', id}
