-- Say which operations of a run have nothing to wait for any more: they are over, or not begun in a run that is.
-- KEYS: the run's. ARGV: operations.
-- Returns 1 if the run is over or gone, else 0; how often it was resumed, -1 where it is gone; then 1 or 0 for each
-- operation. Run twice: the same.
--@include run_keys
local gone = redis.call('EXISTS', RUN) == 0
local ended = gone or redis.call('HGET', RUN, 'state') ~= 'running'
local answer = {ended and 1 or 0, gone and -1 or tonumber(GENERATION) or 0}
for _, name in ipairs(ARGV) do
  local operation = meant(name)
  local nothing = gone or not operation or is_over(operation) or (ended and not is_running(operation))
  answer[#answer + 1] = nothing and 1 or 0
end
return answer
