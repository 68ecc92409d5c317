-- Store messages and ring the queue's bell if it was empty.
-- KEYS: the queue's. ARGV: per message: id, priority (0-3), rank (ms), delay (ms), body.
-- Returns {stored, known}: a message whose id is stored, or was acknowledged lately, is known and not stored again.
-- Run twice: the second run finds every id known.
--@include queue_keys
local now = now_ms()
local was_empty = count_waiting() == 0
local stored, known = 0, 0
local seq = nil
for i = 1, #ARGV, 5 do
  local id, delay = ARGV[i], tonumber(ARGV[i + 3])
  if redis.call('HEXISTS', MESSAGES, id) == 1 or redis.call('ZSCORE', DONE, id) then
    known = known + 1
  else
    seq = (seq or take_numbers(#ARGV / 5)) + 1
    local place = {priority = tonumber(ARGV[i + 1]), rank = ARGV[i + 2],
                   seq = string.format('%016x', seq), deliveries = 0, token = ''}
    redis.call('HSET', MESSAGES, id, ARGV[i + 4])
    write_place(id, place)
    if delay > 0 then
      redis.call('ZADD', DELAYED, now + delay, id)
    else
      enqueue(id, place)
    end
    stored = stored + 1
  end
end
if stored > 0 then redis.call('HINCRBY', META, 'published', stored) end
if was_empty and stored > 0 then redis.call('SPUBLISH', BELL, stored) end
touch()
return {stored, known}
