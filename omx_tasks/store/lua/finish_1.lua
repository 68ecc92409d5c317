-- Write an operation's outcome and count it into every join it is part of.
-- KEYS: the run's. ARGV: operation, state, 1 if its dependents run even when it failed, record (JSON), output (JSON).
-- Returns the operations that it made ready and that are not started yet.
-- Run twice: the first outcome stays; returns those of its successors that are still in the outbox.
--@include run_keys
local operation, state, goes_on, record = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4]
if redis.call('EXISTS', RUN) == 0 then return {} end
local parent = string.match(operation, '^([^%[]+)%[')
if is_over(operation) then
  local still_open = {}
  for _, id in ipairs(successors_of(parent or operation)) do
    if redis.call('ZSCORE', OUTBOX, id) then still_open[#still_open + 1] = id end
  end
  return still_open
end
redis.call('HSET', RECORDS, operation, record)
if ARGV[5] ~= '' then redis.call('HSET', OUTPUTS, operation, ARGV[5]) end
if not parent then return settle(operation, state, goes_on, record) end

redis.call('HSET', STATES, operation, state)
redis.call('ZREM', OUTBOX, operation)
tell(operation, state, record)
if state ~= 'succeeded' then redis.call('HINCRBY', REMAINING, parent .. ':' .. state, 1) end
if redis.call('HINCRBY', REMAINING, parent, -1) > 0 then return {} end
if is_over(parent) then return {} end
local outcome = 'succeeded'
if redis.call('HGET', REMAINING, parent .. ':failed') then outcome = 'failed' end
if redis.call('HGET', REMAINING, parent .. ':unknown') then outcome = 'unknown' end
return settle(parent, outcome, goes_on, '')
