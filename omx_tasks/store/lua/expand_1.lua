-- A foreach operation has its list: some of its items become operations, ready at once. A long list comes in parts, one
-- call each, in their order: the server is not held up, and the first items run before the last are stored.
-- KEYS: the run's. ARGV: operation, items in all, number of the first one here (from 0), then these items (JSON).
-- Returns what is ready now: these items' operations, or, without any items at all, the successors; then, where the run
-- is over, '' and its state.
-- Run twice: the second changes nothing and returns those of them that nobody has begun.
--@include run_keys
local operation, total, first = meant(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local count = #ARGV - 3
if not operation then
  write_again()
  return {}
end
if is_over(operation) then
  write_again()
  local ready = still_waiting(successors_of(operation))
  name_end(ready, redis.call('HGET', RUN, 'state'))
  return ready
end
local run_state = redis.call('HGET', RUN, 'state')
if run_state ~= 'running' then return {} end
if total == 0 then
  redis.call('HSET', ITEMS, operation, 0)
  local ready = settle(run_state, operation, 'succeeded', false, '')
  write_down(run_state)
  name_end(ready, closed)
  return ready
end
if redis.call('HSETNX', ITEMS, operation, total) == 1 then
  redis.call('HSET', REMAINING, operation, total)
  tell(operation, 'running', tostring(total))
else
  write_again()
end
local created, ids = seconds() * 1000, {}
for index = 1, count do
  local id = operation .. '[' .. (first + index - 1) .. ']'
  if redis.call('HSETNX', ITEMS, id, ARGV[3 + index]) == 1 then redis.call('ZADD', OUTBOX, created, id) end
  ids[index] = id
end
if first + count == total then redis.call('ZREM', OUTBOX, operation) end
return still_waiting(ids)
