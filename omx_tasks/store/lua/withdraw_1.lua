-- Remove messages that wait, given back or published for later included; what somebody holds, or is dead, stays.
-- KEYS: the queue's. ARGV: ids. Returns how many were removed. Run twice: the second removes none.
--@include queue_keys
local withdrawn = 0
for _, id in ipairs(ARGV) do
  local place = read_place(id)
  if place and place.token == '' and not redis.call('ZSCORE', DEAD, id) then
    local _, member = waiting_entry(id, place)
    redis.call('ZREM', WAITING[place.priority], member)
    redis.call('ZREM', DELAYED, id)
    redis.call('HDEL', MESSAGES, id)
    redis.call('HDEL', PLACES, id)
    redis.call('ZADD', DONE, now_ms(), id)
    withdrawn = withdrawn + 1
  end
end
if withdrawn > 0 then redis.call('HINCRBY', META, 'withdrawn', withdrawn) end
touch()
return withdrawn
