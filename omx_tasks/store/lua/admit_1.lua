-- Say which names have a series of their own: there are never more than CAP of a dimension. A name that was not asked
-- for in KEEP ms makes room for others.
-- KEYS: sets of names, by when they were asked for (ms). ARGV: CAP, KEEP, then of each name: number of its key, name.
-- Returns 1 (it has) or 0 of each.
-- Run twice: who was admitted is admitted.
local cap, keep = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function admit(names, name)
  if not redis.call('ZSCORE', names, name) then
    if redis.call('ZCARD', names) >= cap then redis.call('ZREMRANGEBYSCORE', names, '-inf', now - keep) end
    if redis.call('ZCARD', names) >= cap then return 0 end
  end
  redis.call('ZADD', names, now, name)
  return 1
end

local admitted = {}
for i = 3, #ARGV, 2 do admitted[#admitted + 1] = admit(KEYS[tonumber(ARGV[i])], ARGV[i + 1]) end
return admitted
