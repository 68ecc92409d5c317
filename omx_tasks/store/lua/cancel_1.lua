-- End a run: what waits is cancelled; what runs is ended by its agent, and is not followed by anything.
-- KEYS: the run's. ARGV: why, as JSON of kind and message, or ''.
-- Returns the run's state now, '' when there is no such run, how often it was resumed, and the operations that waited
-- for an agent.
-- Run twice: the second changes nothing and returns no operations.
--@include run_keys
local state = redis.call('HGET', RUN, 'state')
if not state then return {'', '0'} end
local generation = GENERATION == '' and '0' or GENERATION
if state ~= 'running' then
  write_again()
  return {state, generation}
end
local answer = still_waiting(redis.call('ZRANGE', OUTBOX, 0, -1))
table.insert(answer, 1, 'cancelled')
table.insert(answer, 2, generation)
cancel_run(ARGV[1])
return answer
