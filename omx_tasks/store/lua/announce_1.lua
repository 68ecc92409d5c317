-- Enter a run into lists: that of all runs, that of the runs that may not be finished.
-- KEYS: the lists. ARGV: run, time of its submission (s).
-- Returns 1. Run twice: the same; it is written anew, so that it can be confirmed again.
for _, key in ipairs(KEYS) do
  redis.call('ZREM', key, ARGV[1])
  redis.call('ZADD', key, ARGV[2], ARGV[1])
end
return 1
