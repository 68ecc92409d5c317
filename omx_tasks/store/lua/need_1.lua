-- Keep what a run needs of servers for a while, and tell the agents.
-- KEYS: the run's needs, channel. ARGV: run, needs (JSON), seconds.
-- Returns how many heard it. Run twice: the same is kept and told again.
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return redis.call('SPUBLISH', KEYS[2], ARGV[1] .. ' ' .. ARGV[2])
