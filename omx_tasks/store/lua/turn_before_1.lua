-- Say how many come before operations in the lines of a server.
-- KEYS: the server's turns. ARGV: message ids.
-- Returns for each how many: 0 has the turn, -1 did not ask for one. Run twice: the same, a little later.
--@include turn_keys
local answer = {}
for n, id in ipairs(ARGV) do
  local place = read_place(id)
  if not place then
    answer[n] = -1
  elseif redis.call('HGET', HOLDERS, place.resource) == id then
    answer[n] = 0
  else
    answer[n] = 1 + redis.call('ZLEXCOUNT', LINE, '[' .. place.resource .. '\1', '(' .. place.member)
  end
end
return answer
