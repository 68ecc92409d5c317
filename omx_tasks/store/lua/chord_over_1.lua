-- Say that a chord is over: parts that are told again from now on do not count.
-- KEYS: the chord's hash. ARGV: seconds to remember it. Returns 1. Run twice: the same.
local run = redis.call('HGET', KEYS[1], 'run')
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'over', 1)
if run then redis.call('HSET', KEYS[1], 'run', run) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
