-- Count the operations of a run that agents work on.
-- KEYS: the run's. ARGV: none.
-- Returns how many; a foreach that has its items is not counted, its items are. Run twice: the same.
--@include run_keys
local count, states = 0, redis.call('HGETALL', STATES)
for i = 1, #states, 2 do
  local is_item = string.find(states[i], '[', 1, true)
  if states[i + 1] == 'running' and (is_item or redis.call('HEXISTS', ITEMS, states[i]) == 0) then count = count + 1 end
end
return count
