-- Fold measured seconds into decayed averages.
-- KEYS: the report's, then the hashes of averages. ARGV: weight of one sample (0 to 1), seconds to keep a hash that
-- nobody adds to, most fields of a hash; then for each field: number of its hash (from 1), name, number of samples,
-- their mean. n samples count as n in a row, each of which takes `weight` of the average's place.
-- Returns how many averages were changed. Run twice: the second finds the report and changes nothing.
local weight, keep, most = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
if not redis.call('SET', KEYS[1], 1, 'NX', 'EX', 300) then return 0 end
local changed = 0
for i = 4, #ARGV, 4 do
  local key, name, mean = KEYS[1 + tonumber(ARGV[i])], ARGV[i + 1], tonumber(ARGV[i + 3])
  local average = tonumber(redis.call('HGET', key, name) or nil)
  if average then
    average = average + (1 - (1 - weight) ^ tonumber(ARGV[i + 2])) * (mean - average)
  elseif redis.call('HLEN', key) < most then
    average = mean
  end
  if average then
    redis.call('HSET', key, name, string.format('%.6g', average))
    changed = changed + 1
  end
end
for i = 2, #KEYS do redis.call('EXPIRE', KEYS[i], keep) end
return changed
