-- Say that messages are done with: acknowledged, or refused for good.
-- KEYS: the queue's. ARGV: outcome ('acked' or 'failed'), then id, token, id, token, …
-- Returns {done, repeated, fenced}: fenced ones are held by somebody else now, and stay his.
-- Run twice: the second run finds all of them repeated.
--@include queue_keys
local now = now_ms()
local outcome = ARGV[1]
local finished, repeated, fenced = 0, 0, 0
for i = 2, #ARGV, 2 do
  local id, token = ARGV[i], ARGV[i + 1]
  local place = read_place(id)
  if not place then
    repeated = repeated + 1
  elseif place.token ~= token then
    fenced = fenced + 1
  else
    redis.call('HDEL', MESSAGES, id)
    redis.call('HDEL', PLACES, id)
    redis.call('ZREM', LEASES, id)
    redis.call('ZADD', DONE, now, id)
    finished = finished + 1
  end
end
if finished > 0 then
  redis.call('HINCRBY', META, outcome, finished)
  redis.call('ZREMRANGEBYSCORE', DONE, '-inf', now - 60000)
  redis.call('ZREMRANGEBYRANK', DONE, 0, -10001)
end
if fenced > 0 then redis.call('HINCRBY', META, 'fenced', fenced) end
touch()
return {finished, repeated, fenced}
