-- Make a queue known, with how long it may lie unused and in how many partitions it is.
-- KEYS: the queue's (of its first partition). ARGV: expires (ms, 0 for never), partitions.
-- The most that were ever declared are kept: messages may be left there. Consumers hear of new ones by the bell.
-- Returns 1. Run twice: the same; the number is written each time, so that it can be confirmed, too.
--@include queue_keys
redis.call('HSETNX', META, 'seq', 0)
if tonumber(ARGV[1]) > 0 then redis.call('HSET', META, 'expires', ARGV[1]) end
local known, count = partitions(), tonumber(ARGV[2])
if count > 1 or known > 1 then redis.call('HSET', META, 'partitions', math.max(count, known)) end
if count > known then redis.call('SPUBLISH', BELL, '') end
touch()
return 1
