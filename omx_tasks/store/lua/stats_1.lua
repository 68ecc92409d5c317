-- Read one queue's lengths and counters at one moment.
-- KEYS: the queue's. ARGV: none.
-- Returns {P0, P1, P2, P3, leased, delayed, dead, counter, value, counter, value, …}.
--@include queue_keys
local answer = {}
for priority = 0, 3 do answer[#answer + 1] = redis.call('ZCARD', WAITING[priority]) end
answer[#answer + 1] = redis.call('ZCARD', LEASES)
answer[#answer + 1] = redis.call('ZCARD', DELAYED)
answer[#answer + 1] = redis.call('ZCARD', DEAD)
for _, field in ipairs(redis.call('HGETALL', META)) do answer[#answer + 1] = field end
return answer
