-- Lead, or say that one stands by: take a lease that nobody holds, renew one's own, or give it up.
-- The token rises from leader to leader and is never behind the server's milliseconds: also where the lease was lost
-- with its node, nobody gets a token that somebody had before.
-- KEYS: lease, coordinators. ARGV: name, length of a lease (ms), token that is held ('0': none; then a free lease is
-- taken), what is to be shown (JSON, '' when it goes).
-- Returns {1 if it leads or 0, token, ms until the lease ends, leader ('' for none), since when it leads (ms)}.
-- Run twice: the same; who has taken the lease and not heard of it is told so. It writes each time, so that it can be
-- confirmed.
local LEASE, COORDINATORS = KEYS[1], KEYS[2]
local name, length, held, record = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local leader, token, ends, since = unpack(redis.call('HMGET', LEASE, 'leader', 'token', 'until', 'since'))
local left = (tonumber(ends) or 0) - now

local function whole(number)
  return string.format('%.0f', number)
end

if record == '' then
  redis.call('HDEL', COORDINATORS, name)
  if leader == name then redis.call('HSET', LEASE, 'leader', '', 'until', '0') end
  return {0, token or '0', 0, '', 0}
end

redis.call('HSET', COORDINATORS, name, whole(now) .. ' ' .. record)
if left <= 0 then
  if held ~= '0' then return {0, token or '0', 0, '', 0} end
  leader, token, since = name, whole(math.max((tonumber(token) or 0) + 1, now)), whole(now)
  redis.call('HSET', LEASE, 'leader', leader, 'token', token, 'since', since, 'until', whole(now + length))
  return {1, token, length, leader, tonumber(since)}
end
if leader ~= name or (held ~= '0' and held ~= token) then return {0, token, left, leader, tonumber(since)} end
redis.call('HSET', LEASE, 'until', whole(now + length))
return {1, token, length, leader, tonumber(since)}
