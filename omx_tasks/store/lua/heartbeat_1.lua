-- Say that an agent lives, and what its servers offer; read which capability sets are asked for.
-- KEYS: agents, catalogue, capability sets. ARGV: agent, record (JSON, '' when it goes), then server, catalogue (JSON), …
-- Returns the capability sets. Run twice: the same, a little later. A record is kept behind the time (ms) of its beat.
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%d ', now) .. ARGV[2])
end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return redis.call('SMEMBERS', KEYS[3])
