-- Whose is the session of a run on a stateful server? Who asks first has it, for this generation of the run.
-- KEYS: the run's. ARGV: server, who asks, then all operations of the run on that server.
-- Returns {owner}; {''} when the run is over or gone; or {'lost', operation} where an operation of an earlier generation
-- has succeeded there: what it left on the server is gone, so this one must not go on as if nothing had been.
-- Run twice: the same.
--@include run_keys
if state_in_time() ~= 'running' then return {''} end
local field = 'session:' .. GENERATION .. ':' .. ARGV[1]
local owner = redis.call('HGET', RUN, field)
if owner then
  write_again()
  return {owner}
end
if GENERATION ~= '' then
  local mine, states = {}, redis.call('HGETALL', STATES)
  for i = 3, #ARGV do mine[ARGV[i]] = true end
  for i = 1, #states, 2 do
    if states[i + 1] == 'succeeded' and mine[string.match(states[i], '^[^%[]+')] then return {'lost', states[i]} end
  end
end
redis.call('HSET', RUN, field, ARGV[2])
return {ARGV[2]}
