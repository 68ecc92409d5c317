-- Fold how many seconds servers took to open into what is expected of them: a decayed average, and a decayed average of
-- how far from it the samples were. A first sample is taken for half of itself off.
-- KEYS: the report's, then the hash of servers. ARGV: weight of one sample (0 to 1), seconds to keep a hash that nobody
-- adds to, most fields of it; then for each sample: server, seconds.
-- Writes "average deviation" for each server. Returns how many samples were taken. Run twice: the second finds the report
-- and changes nothing.
local weight, keep, most = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
if not redis.call('SET', KEYS[1], 1, 'NX', 'EX', 300) then return 0 end
local taken = 0
for i = 4, #ARGV, 2 do
  local server, seconds = ARGV[i], tonumber(ARGV[i + 1])
  local known = redis.call('HGET', KEYS[2], server)
  local average, deviation = seconds, seconds / 2
  if known then
    local before, off = string.match(known, '^(%S+) (%S+)$')
    average = before + weight * (seconds - before)
    deviation = off + weight * (math.abs(seconds - before) - off)
  end
  if known or redis.call('HLEN', KEYS[2]) < most then
    redis.call('HSET', KEYS[2], server, string.format('%.6g %.6g', average, deviation))
    taken = taken + 1
  end
end
redis.call('EXPIRE', KEYS[2], keep)
return taken
