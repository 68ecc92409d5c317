-- Ask which of these messages are dead, and after what.
-- KEYS: the queue's. ARGV: ids. Returns {id, deliveries, losses, …} of those that are. Run twice: the same.
--@include queue_keys
local answer = {}
for i, died in ipairs(redis.call('ZMSCORE', DEAD, unpack(ARGV))) do
  local place = died and read_place(ARGV[i])
  if place then
    for _, value in ipairs({ARGV[i], place.deliveries, place.lost}) do answer[#answer + 1] = value end
  end
end
return answer
