-- Put dead events back into their places of the group's retry line, as if they had never been delivered.
-- KEYS: the partition's and the group's. ARGV: their ids among the dead. Returns how many went back.
-- Run twice: the second run finds none of them dead.
--@include event_group_keys
local now, replayed = now_ms(), 0
for _, id in ipairs(ARGV) do
  local entry = redis.call('XRANGE', DEAD, id, id)[1]
  if entry then
    local fields = fields_of(entry)
    redis.call('ZADD', ORDER, 0, fields.member)
    redis.call('HSET', WAITING, fields.member, '0|' .. fields.e)
    redis.call('ZADD', DUE, 'NX', now, line_of_member(fields.member))
    redis.call('XDEL', DEAD, id)
    replayed = replayed + 1
  end
end
redis.call('HINCRBY', GROUP, 'replayed', replayed)
if replayed > 0 then redis.call('SPUBLISH', BELL, '0 0 0 0') end
return replayed
