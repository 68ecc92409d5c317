-- List dead messages, the longest dead first.
-- KEYS: the queue's. ARGV: first position, how many.
-- Returns {id, died (ms), priority, deliveries, losses, body, …}. Run twice: the same.
--@include queue_keys
local answer = {}
local first = tonumber(ARGV[1])
local found = redis.call('ZRANGE', DEAD, first, first + tonumber(ARGV[2]) - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local id, place = found[i], read_place(found[i])
  for _, value in ipairs({id, found[i + 1], place.priority, place.deliveries, place.lost,
                          redis.call('HGET', MESSAGES, id)}) do
    answer[#answer + 1] = value
  end
end
return answer
