-- Delete a queue in which nothing is, and to which nothing was published for long.
-- KEYS: the queue's. ARGV: for how long (ms). Returns 1 if it is gone, 0 where it is still of use. One with partitions
-- stays: how many there are must not be forgotten. Run twice: the same.
--@include queue_keys
if redis.call('EXISTS', META) == 0 then return 1 end
local last = tonumber(redis.call('HGET', META, 'seq') or '0') / 1000
if partitions() > 1 or last > now_ms() - tonumber(ARGV[1]) then return 0 end
if redis.call('HLEN', PLACES) > 0 then return 0 end
redis.call('DEL', META, MESSAGES, PLACES, LEASES, DELAYED, DONE, DEAD, WAITING[0], WAITING[1], WAITING[2], WAITING[3])
return 1
