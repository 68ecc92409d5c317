-- Say how many come before the operations of a run in the lines of a server.
-- KEYS: the server's turns. ARGV: run, most.
-- Returns {message id, how many, …}: 0 has the turn. Run twice: the same, a little later.
--@include turn_keys
local run, left = ARGV[1], tonumber(ARGV[2])
local answer = {}
for _, field in ipairs(redis.call('HKEYS', ARRIVALS)) do
  local resource, name = string.match(field, '^([^\1]*)\1(.*)$')
  if name == run then
    local holder = redis.call('HGET', HOLDERS, resource)
    if run_of(holder) == run then answer[#answer + 1], answer[#answer + 2] = holder, 0 end
    local found = members(resource, redis.call('HGET', ARRIVALS, field), left)
    left = left - #found
    local first = 0
    for n, member in ipairs(found) do
      if n == 1 then first = 1 + redis.call('ZLEXCOUNT', LINE, '[' .. resource .. '\1', '(' .. member) end
      answer[#answer + 1], answer[#answer + 2] = id_of(resource, member), first + n - 1
    end
  end
end
return answer
