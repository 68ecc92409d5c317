-- Say how many partitions the events have; the first to say so decides for good.
-- KEYS: the layout. ARGV: partitions. Returns how many there are.
-- Run twice: the same answer; what is there is written as it is, so that it can be confirmed.
local partitions = redis.call('GET', KEYS[1]) or ARGV[1]
redis.call('SET', KEYS[1], partitions)
return tonumber(partitions)
