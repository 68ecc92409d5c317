-- Take operations of a run out of the line, in which they have nothing to wait for any more.
-- KEYS: the server's turns. ARGV: run, most.
-- Returns {id, queue, …} of those that waited. Run twice: the second finds none of them.
--@include turn_keys
take_number()
local run, left = ARGV[1], tonumber(ARGV[2])
local answer = {}
for _, field in ipairs(redis.call('HKEYS', ARRIVALS)) do
  local resource, name = string.match(field, '^([^\1]*)\1(.*)$')
  if name == run then
    for _, member in ipairs(members(resource, redis.call('HGET', ARRIVALS, field), left)) do
      local id = id_of(resource, member)
      local place = read_place(id)
      leave(id, place)
      answer[#answer + 1], answer[#answer + 2] = id, place.queue
      left = left - 1
    end
  end
end
return answer
