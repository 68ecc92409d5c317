-- Forget a group of handlers that nobody serves any more, with what it is behind by, tries again and has given up.
-- KEYS: the partition's and the group's. ARGV: group. Returns 1, or 0 where it is served now: then nothing is done.
-- Run twice: the second run finds nothing to forget and says the same. One that is served again begins as a new one.
--@include event_group_keys
local group = ARGV[1]
if group_number('until') > now_ms() then return 0 end
for priority = 0, 3 do redis.call('HDEL', CURSORS, priority .. ':' .. group) end
redis.call('HDEL', DROPPED, group)
redis.call('DEL', GROUP, WAITING, ORDER, DUE, DEAD, CONSUMERS)
redis.call('HINCRBY', META, 'forgotten', redis.call('HDEL', SEEN, group))
return 1
