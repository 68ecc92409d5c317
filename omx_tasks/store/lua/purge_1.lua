-- Remove all messages that wait (claimed ones stay with their holders).
-- KEYS: the queue's. ARGV: none.
-- Returns how many were removed. Run twice: the second removes none.
--@include queue_keys
local purged = 0
local function drop(id)
  purged = purged + redis.call('HDEL', MESSAGES, id)
  redis.call('HDEL', PLACES, id)
end
for priority = 0, 3 do
  for _, member in ipairs(redis.call('ZRANGE', WAITING[priority], 0, -1)) do
    drop(string.sub(member, 17))
  end
  redis.call('DEL', WAITING[priority])
end
for _, id in ipairs(redis.call('ZRANGE', DELAYED, 0, -1)) do drop(id) end
redis.call('DEL', DELAYED)
if purged > 0 then redis.call('HINCRBY', META, 'purged', purged) end
return purged
