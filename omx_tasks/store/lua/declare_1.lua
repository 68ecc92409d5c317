-- Make a queue known, with how long it may lie unused.
-- KEYS: the queue's. ARGV: expires (ms, 0 for never).
-- Returns 1. Run twice: the same.
--@include queue_keys
redis.call('HSETNX', META, 'seq', 0)
if tonumber(ARGV[1]) > 0 then redis.call('HSET', META, 'expires', ARGV[1]) end
touch()
return 1
