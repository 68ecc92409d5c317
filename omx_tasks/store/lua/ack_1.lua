-- Say that messages are done with: acknowledged, or refused for good.
-- KEYS: the queue's. ARGV: outcome ('acked' or 'failed'), then at most 1000 times: id, token.
-- Returns {done, repeated, fenced}: fenced ones are held by somebody else now, and stay his.
-- Run twice: the second run finds all of them repeated.
--@include queue_keys
local MOST_REMEMBERED = 200000  -- a minute at 3,000 messages a second
local now = now_ms()
local outcome = ARGV[1]
local ids, finished, seen, repeated, fenced = {}, {}, {}, 0, 0
for i = 2, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
if #ids == 0 then return {0, 0, 0} end
for i, text in ipairs(redis.call('HMGET', PLACES, unpack(ids))) do
  local place = parse_place(text)
  if not place or seen[ids[i]] then
    repeated = repeated + 1
  elseif place.token ~= ARGV[2 * i + 1] then
    fenced = fenced + 1
  else
    finished[#finished + 1] = ids[i]
    seen[ids[i]] = true
  end
end
if #finished > 0 then
  local done = {}
  for _, id in ipairs(finished) do add(done, now, id) end
  redis.call('HDEL', MESSAGES, unpack(finished))
  redis.call('HDEL', PLACES, unpack(finished))
  redis.call('ZREM', LEASES, unpack(finished))
  redis.call('ZADD', DONE, unpack(done))
  redis.call('HINCRBY', META, outcome, #finished)
  redis.call('ZREMRANGEBYSCORE', DONE, '-inf', now - REMEMBERED)
  redis.call('ZREMRANGEBYRANK', DONE, 0, -MOST_REMEMBERED - 1)
end
if fenced > 0 then redis.call('HINCRBY', META, 'fenced', fenced) end
touch()
return {#finished, repeated, fenced}
