-- Add what was counted of a batch of events, once: how far each log was counted is kept beside the counts.
-- There are never more than CAP names of a dimension; what has another name is counted together under the name ''. A
-- name that was not seen for KEEP ms makes room for others.
-- KEYS: the state's, then, in any order, sets of names (by when they were seen, ms) and hashes of counts.
-- ARGV: CAP, KEEP, events that are older than all that is kept (they are in no count), how many logs the batch is from;
-- for each of these: its field in the state, the batch's first and last number of it; then for each hash: number of
-- its names' key and of its own, seconds to keep it, the counts to add (JSON: name → numbers, or objects of numbers).
-- Returns {} when all is added; or {field, last number counted, …} of the logs of which some was counted before: then
-- nothing is added but to `repeated`, and the rest of the batch must come by itself.
-- Run twice: the second run finds all of it counted.
local STATE = KEYS[1]
local cap, keep, late, logs = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local known, begin = {}, 5 + 3 * logs
for i = 5, begin - 1, 3 do
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

for i = 5, begin - 1, 3 do redis.call('HSET', STATE, ARGV[i], ARGV[i + 2]) end
redis.call('HSETNX', STATE, 'since', string.format('%.0f', now))
redis.call('HINCRBY', STATE, 'late', late)

local function add(sum, more)
  for name, value in pairs(more) do
    if type(value) == 'table' then
      sum[name] = add(sum[name] or {}, value)
    else
      sum[name] = (sum[name] or 0) + value
    end
  end
  return sum
end

-- The name under which something is counted.
local function admitted(names, name)
  if not redis.call('ZSCORE', names, name) then
    if redis.call('ZCARD', names) >= cap then redis.call('ZREMRANGEBYSCORE', names, '-inf', now - keep) end
    if redis.call('ZCARD', names) >= cap then return '' end
  end
  redis.call('ZADD', names, now, name)
  return name
end

for i = begin, #ARGV, 4 do
  local names, hash = KEYS[tonumber(ARGV[i])], KEYS[tonumber(ARGV[i + 1])]
  for name, more in pairs(cjson.decode(ARGV[i + 3])) do
    name = admitted(names, name)
    local text = redis.call('HGET', hash, name)
    redis.call('HSET', hash, name, cjson.encode(add(text and cjson.decode(text) or {}, more)))
  end
  redis.call('EXPIRE', hash, ARGV[i + 2])
end
return {}
