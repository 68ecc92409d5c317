-- Take operations of a run out of the line, in which they have nothing to wait for any more.
-- KEYS: the server's turns. ARGV: run, how often it had been resumed (what came after the next time stays; -1: all), most.
-- Returns {id, queue, …} of those that waited. Run twice: the second finds none of them.
--@include turn_keys
take_number()
local run, generation, left = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local answer = {}

local function is_later(id)
  return generation >= 0 and tonumber(string.match(id, ':(%d+)$') or '0') > generation
end

for _, field in ipairs(redis.call('HKEYS', ARRIVALS)) do
  local resource, name = string.match(field, '^([^\1]*)\1(.*)$')
  if name == run then
    for _, member in ipairs(members(resource, redis.call('HGET', ARRIVALS, field), -1)) do
      local id = id_of(resource, member)
      if left > 0 and not is_later(id) then
        local place = read_place(id)
        leave(id, place)
        answer[#answer + 1], answer[#answer + 2] = id, place.queue
        left = left - 1
      end
    end
  end
end
return answer
