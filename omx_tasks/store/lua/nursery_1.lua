-- Say that a nursery lives, and read how many agents it is to have.
-- KEYS: nurseries, wanted. ARGV: nursery, record (JSON, '' when it goes).
-- Returns the number that was asked for last, nil without one. Run twice: the same, a little later. A record is kept
-- behind the time (ms) of its beat; what was asked of a nursery goes with it.
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
  return nil
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d ', now) .. ARGV[2])
return redis.call('HGET', KEYS[2], ARGV[1])
