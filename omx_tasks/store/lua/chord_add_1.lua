-- Add a part to a chord that is under way.
-- KEYS: the chord's hash. ARGV: part, its result as JSON. Returns how many were added. Run twice: the same.
local more = redis.call('HGET', KEYS[1], 'more:' .. ARGV[1]) or redis.call('HINCRBY', KEYS[1], 'more', 1)
redis.call('HSET', KEYS[1], 'more:' .. ARGV[1], more, 'added:' .. more, ARGV[2])
return tonumber(more)
