-- Remove dead messages for good.
-- KEYS: the queue's. ARGV: ids. Returns how many were removed. Run twice: the second removes none.
--@include queue_keys
local dropped = 0
for _, id in ipairs(ARGV) do
  if redis.call('ZREM', DEAD, id) == 1 then
    redis.call('HDEL', MESSAGES, id)
    redis.call('HDEL', PLACES, id)
    redis.call('ZADD', DONE, now_ms(), id)
    dropped = dropped + 1
  end
end
if dropped > 0 then redis.call('HINCRBY', META, 'dropped', dropped) end
touch()
return dropped
