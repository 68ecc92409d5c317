-- A foreach operation has its list: one operation an item, all ready at once.
-- KEYS: the run's. ARGV: operation, then the items (JSON).
-- Returns what is ready now: the items' operations, or, without items, the successors.
-- Run twice: the second changes nothing and returns what is still in the outbox.
--@include run_keys
local operation, count = ARGV[1], #ARGV - 1
if is_over(operation) then return {} end
if count == 0 then
  redis.call('HSET', ITEMS, operation, 0)
  return settle(operation, 'succeeded', false, '')
end
local fresh = redis.call('HSETNX', ITEMS, operation, count) == 1
local created = seconds() * 1000
local ready = {}
if fresh then redis.call('HSET', REMAINING, operation, count) end
for index = 0, count - 1 do
  local id = operation .. '[' .. index .. ']'
  if fresh then
    redis.call('HSET', ITEMS, id, ARGV[index + 2])
    redis.call('ZADD', OUTBOX, created, id)
  end
  if redis.call('ZSCORE', OUTBOX, id) then ready[#ready + 1] = id end
end
if fresh then tell(operation, 'running', tostring(count)) end
return ready
