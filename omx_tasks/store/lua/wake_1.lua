-- Have messages claimed that were parked; who holds one of them that is about to be parked gives it back instead.
-- KEYS: the queue's. ARGV: ids. Returns how many of them the queue knows.
-- Run twice: the second finds them waiting, and changes nothing; it writes a number as it is, to be confirmed, too.
--@include queue_keys
local before = what_waits()
local known, back = 0, 0
for _, id in ipairs(ARGV) do
  local place = read_place(id)
  if place then
    known = known + 1
    if redis.call('ZREM', DELAYED, id) == 1 then
      enqueue(id, place)
      back = back + 1
    elseif place.token ~= '' then
      place.woken = true
      write_place(id, place)
    end
  end
end
redis.call('HSET', META, 'seq', redis.call('HGET', META, 'seq') or 0)
ring(before)
touch()
return known
