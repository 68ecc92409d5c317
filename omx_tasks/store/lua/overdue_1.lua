-- Find operations that have been ready or running for long: their messages may be lost. Gives them more time.
-- KEYS: the run's. ARGV: age (ms), most.
-- Returns {state, operation, whose message stands for it, operation, …}: most often its own. A run whose time is over is
-- cancelled. Run twice: the second finds only what became overdue since.
--@include run_keys
--@include begin
local state = state_in_time()
if not state then return {''} end
local now = seconds() * 1000
local answer = {state}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', OUTBOX, '-inf', now - tonumber(ARGV[1]), 'LIMIT', 0, ARGV[2])) do
  redis.call('ZADD', OUTBOX, now, id)
  local _, token, carrier = last_attempt(id)
  local stands = token ~= '' and carrier ~= '' and is_running(id) and carrier or id
  answer[#answer + 1], answer[#answer + 2] = named(id), named(stands)
end
return answer
