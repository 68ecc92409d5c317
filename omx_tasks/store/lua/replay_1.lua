-- Put dead messages back to their places, as if they had never been delivered.
-- KEYS: the queue's. ARGV: ids. Returns how many went back. Run twice: the second finds none of them dead.
--@include queue_keys
local before = what_waits()
local replayed = 0
for _, id in ipairs(ARGV) do
  if redis.call('ZREM', DEAD, id) == 1 then
    local place = read_place(id)
    place.deliveries, place.lost = 0, 0
    write_place(id, place)
    enqueue(id, place)
    replayed = replayed + 1
  end
end
if replayed > 0 then
  redis.call('HINCRBY', META, 'replayed', replayed)
  ring(before)
end
touch()
return replayed
