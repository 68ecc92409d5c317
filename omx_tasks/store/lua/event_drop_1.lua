-- Remove dead events of a group for good.
-- KEYS: the partition's and the group's. ARGV: their ids among the dead. Returns how many there were.
-- Run twice: the second run finds none of them dead.
--@include event_group_keys
local dropped = redis.call('XDEL', DEAD, unpack(ARGV))
redis.call('HINCRBY', GROUP, 'dropped', dropped)
return dropped
