-- Find operations that have been ready or running for long: their messages may be lost. Gives them more time.
-- KEYS: the run's. ARGV: age (ms), most.
-- Returns {state, operation, …}; a run whose time is over is cancelled. Run twice: the second finds only what became overdue since.
--@include run_keys
local state = state_in_time()
if not state then return {''} end
local now = seconds() * 1000
local answer = {state}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', OUTBOX, '-inf', now - tonumber(ARGV[1]), 'LIMIT', 0, ARGV[2])) do
  redis.call('ZADD', OUTBOX, now, id)
  answer[#answer + 1] = named(id)
end
return answer
