-- Hold places of an agent, each for the length of a lease, where there is room.
-- KEYS: the sorted sets of places. ARGV: agent, lease (ms), then for each set how many agents may hold a place there
-- if this one is to be among them; it has, or gets, none where others are that many.
-- Returns for each set 1 or 0 (whether the agent holds a place), and how many others do. Run twice: the same, a little
-- later. What is not held anew in time lapses.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local agent, lease, answer = ARGV[1], tonumber(ARGV[2]), {}
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZREM', key, agent)
  local others, held = redis.call('ZCARD', key), 0
  if others < tonumber(ARGV[2 + i]) then
    redis.call('ZADD', key, now + lease, agent)
    redis.call('PEXPIRE', key, lease * 2)
    held = 1
  end
  answer[#answer + 1] = held
  answer[#answer + 1] = others
end
return answer
