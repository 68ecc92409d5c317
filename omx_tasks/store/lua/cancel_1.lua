-- End a run: what waits is cancelled, what runs is left to end by itself and is not followed by anything.
-- KEYS: the run's. ARGV: none.
-- Returns the run's state now, or '' when there is no such run. Run twice: the second changes nothing.
--@include run_keys
local state = redis.call('HGET', RUN, 'state')
if not state then return '' end
if state ~= 'running' then
  write_again()
  return state
end
redis.call('HSET', RUN, 'state', 'cancelled', 'finished', string.format('%.6f', seconds()))
redis.call('DEL', OUTBOX)
tell('', 'cancelled', '')
let_go()
return 'cancelled'
