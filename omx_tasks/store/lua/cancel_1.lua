-- End a run: what waits is cancelled; what runs is ended by its agent, and is not followed by anything.
-- KEYS: the run's. ARGV: why, as JSON of kind and message, or ''.
-- Returns the run's state now, '' when there is no such run, and the operations that waited for an agent.
-- Run twice: the second changes nothing and returns the state alone.
--@include run_keys
local state = redis.call('HGET', RUN, 'state')
if not state then return {''} end
if state ~= 'running' then
  write_again()
  return {state}
end
local answer = still_waiting(redis.call('ZRANGE', OUTBOX, 0, -1))
table.insert(answer, 1, 'cancelled')
cancel_run(ARGV[1])
return answer
