-- Ask for turns at a server, before its tools are called.
-- KEYS: the server's turns. ARGV: per operation: resource, message id, rank (ms), queue.
-- Returns for each {how many come before it}: 0 is its turn. Where the next one was told long ago and did not ask, its
-- id and queue follow: it is to be woken again.
-- Run twice: the same; who waits keeps its place.
--@include turn_keys
local LONG = 1000000

local function ask(resource, id, rank, queue)
  local number = take_number()
  local place = read_place(id)
  if not place then
    local arrival = arrival_of(resource, run_of(id), number)
    place = {state = 'waiting', resource = resource, since = number,
             member = member_of(resource, arrival, rank, number, id)}
    if redis.call('HSETNX', HOLDERS, resource, id) == 0 then
      redis.call('ZADD', LINE, 0, place.member)
    end
  end
  place.queue = queue
  resource = place.resource
  local holder = redis.call('HGET', HOLDERS, resource)
  if holder == id then place.state = 'holds' end
  write_place(id, place)
  if holder == id then return {0} end
  local answer = {1 + redis.call('ZLEXCOUNT', LINE, '[' .. resource .. '\1', '(' .. place.member)}
  local told = read_place(holder)
  if told and told.state == 'next' and number - told.since > LONG then
    answer[2], answer[3] = holder, told.queue
  end
  return answer
end

local answers = {}
for i = 1, #ARGV, 4 do
  answers[#answers + 1] = ask(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3])
end
return answers
