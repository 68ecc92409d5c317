-- Read the turns at a server: who has them, how many wait, for how long, and of which runs.
-- KEYS: the server's turns. ARGV: most resources, those with the longest lines first.
-- Returns {now (µs), runs, for each: {resource, message id, queue, state, since (µs), waiting, oldest (µs or 0)}}.
-- Of a line the first MOST are looked at for the oldest. Run twice: the same, a little later.
--@include turn_keys
local MOST = 1000
local time = redis.call('TIME')
local runs, seen = {}, {}
for _, field in ipairs(redis.call('HKEYS', ARRIVALS)) do
  local run = string.match(field, '\1(.*)$')
  if run and not seen[run] then
    seen[run] = true
    runs[#runs + 1] = run
  end
end

local turns = {}
local holders = redis.call('HGETALL', HOLDERS)
for i = 1, #holders, 2 do
  local resource, id = holders[i], holders[i + 1]
  local place = read_place(id)
  local waiting = redis.call('ZLEXCOUNT', LINE, '[' .. resource .. '\1', '(' .. resource .. '\2')
  turns[#turns + 1] = {resource, id, place.queue, place.state, string.format('%.0f', place.since), waiting, '0'}
end
table.sort(turns, function(one, other) return one[6] > other[6] end)

local answer = {string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2])), runs}
for n = 1, math.min(#turns, tonumber(ARGV[1])) do
  local turn, oldest = turns[n], nil
  for _, member in ipairs(members(turn[1], nil, MOST)) do
    local number = tonumber(string.sub(member, #turn[1] + 34, #turn[1] + 49), 16)
    if not oldest or number < oldest then oldest = number end
  end
  if oldest then turn[7] = string.format('%.0f', oldest) end
  answer[#answer + 1] = turn
end
return answer
