-- Give messages back to where they came from, at their priority and place.
-- KEYS: the queue's. ARGV: delay (ms), 1 if nobody began them (this delivery does not count), then id, token, id, token, …
-- Returns how many went back. Run twice: the second finds none of them held.
--@include queue_keys
local delay, unbegun = tonumber(ARGV[1]), ARGV[2] == '1'
local now = now_ms()
local before = what_waits()
local released = 0
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  local place = read_place(id)
  if place and place.token == ARGV[i + 1] then
    place.token = ''
    if unbegun then place.deliveries = place.deliveries - 1 end
    write_place(id, place)
    redis.call('ZREM', LEASES, id)
    if delay > 0 then redis.call('ZADD', DELAYED, now + delay, id) else enqueue(id, place) end
    released = released + 1
  end
end
if released > 0 then
  redis.call('HINCRBY', META, 'returned', released)
  ring(before)
end
touch()
return released
