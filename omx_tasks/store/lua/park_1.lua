-- Set messages aside that cannot be done now: nobody has them until they are woken, or `delay` has passed.
-- This delivery does not count. One that was woken meanwhile goes back to its place at once.
-- KEYS: the queue's. ARGV: delay (ms), then id, token, id, token, …
-- Returns how many were set aside or went back. Run twice: the second finds none of them held.
--@include queue_keys
local due = now_ms() + tonumber(ARGV[1])
local before = what_waits()
local parked, back = 0, 0
for i = 2, #ARGV, 2 do
  local id = ARGV[i]
  local place = read_place(id)
  if place and place.token == ARGV[i + 1] then
    local woken = place.woken
    place.token, place.woken, place.deliveries = '', false, place.deliveries - 1
    write_place(id, place)
    redis.call('ZREM', LEASES, id)
    if woken then
      enqueue(id, place)
      back = back + 1
    else
      redis.call('ZADD', DELAYED, due, id)
    end
    parked = parked + 1
  end
end
if parked > 0 then redis.call('HINCRBY', META, 'parked', parked) end
ring(before)
touch()
return parked
