-- Store what was counted of a batch of events, once: how far each log was counted is kept beside the counts.
-- KEYS: the state's, then hashes of counts.
-- ARGV: events that are older than all that is kept (they are in no count), how many logs the batch is from; for each of
-- these: its field in the state, the batch's first and last number of it; then for each hash: seconds to keep it, how
-- many fields of it, and field and value of each. Nobody else writes these fields: values are whole, and not added.
-- Returns {} when all is stored; or {field, last number counted, …} of the logs of which some was counted before: then
-- nothing is stored but `repeated`, and the rest of the batch must come by itself.
-- Run twice: the second run finds all of it counted, or where no log is named, stores the same values.
local STATE = KEYS[1]
local late, logs = tonumber(ARGV[1]), tonumber(ARGV[2])
-- Words of one command: Lua passes no more than some thousands.
local MOST = 4000

local known, begin = {}, 3 + 3 * logs
for i = 3, begin - 1, 3 do
  local mark = redis.call('HGET', STATE, ARGV[i])
  if mark and tonumber(mark) >= tonumber(ARGV[i + 1]) then
    known[#known + 1] = ARGV[i]
    known[#known + 1] = mark
  end
end
if #known > 0 then
  redis.call('HINCRBY', STATE, 'repeated', 1)
  return known
end

local time = redis.call('TIME')
for i = 3, begin - 1, 3 do redis.call('HSET', STATE, ARGV[i], ARGV[i + 2]) end
redis.call('HSETNX', STATE, 'since', string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)))
redis.call('HINCRBY', STATE, 'late', late)

local i = begin
for hash = 2, #KEYS do
  local seconds, last = ARGV[i], i + 1 + 2 * tonumber(ARGV[i + 1])
  for first = i + 2, last, MOST do
    redis.call('HSET', KEYS[hash], unpack(ARGV, first, math.min(first + MOST - 1, last)))
  end
  redis.call('EXPIRE', KEYS[hash], seconds)
  i = last + 1
end
return {}
