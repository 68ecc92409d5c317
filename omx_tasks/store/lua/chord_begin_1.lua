-- Begin a run of a chord: what an earlier run of the same chord left is forgotten.
-- KEYS: the chord's hash. ARGV: the run, seconds to remember it (0: for ever). Returns 1, 0 when this run was begun before.
-- Run twice: the second changes nothing.
if redis.call('HGET', KEYS[1], 'run') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'run', ARGV[1])  -- a write, so that it can be confirmed again
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'run', ARGV[1])
if tonumber(ARGV[2]) > 0 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 1
