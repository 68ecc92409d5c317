-- A foreach operation has its list: one operation an item, all ready at once.
-- KEYS: the run's. ARGV: operation, then the items (JSON).
-- Returns what is ready now: the items' operations, or, without items, the successors.
-- Run twice: the second changes nothing and returns those of them that nobody has begun.
--@include run_keys
local operation, count = ARGV[1], #ARGV - 1
if is_over(operation) then return still_waiting(successors_of(operation)) end
if redis.call('HGET', RUN, 'state') ~= 'running' then return {} end
if count == 0 then
  redis.call('HSET', ITEMS, operation, 0)
  return settle(operation, 'succeeded', false, '')
end
redis.call('ZREM', OUTBOX, operation)
local ids = {}
for index = 0, count - 1 do ids[index + 1] = operation .. '[' .. index .. ']' end
if redis.call('HSETNX', ITEMS, operation, count) == 1 then
  local created = seconds() * 1000
  redis.call('HSET', REMAINING, operation, count)
  for index, id in ipairs(ids) do
    redis.call('HSET', ITEMS, id, ARGV[index + 1])
    redis.call('ZADD', OUTBOX, created, id)
  end
  tell(operation, 'running', tostring(count))
end
return still_waiting(ids)
