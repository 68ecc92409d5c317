-- Write an operation's outcome and count it into every join it is part of.
-- KEYS: the run's. ARGV: operation, state, 1 if its dependents run even when it failed, record (JSON), output (JSON).
-- Returns the operations that it made ready.
-- Run twice: the first outcome stays; returns those of its successors that nobody has begun.
--@include run_keys
local operation, state, goes_on, record = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4]
if redis.call('EXISTS', RUN) == 0 then return {} end
local parent = string.match(operation, '^([^%[]+)%[')
if is_over(operation) then return still_waiting(successors_of(parent or operation)) end
redis.call('HSET', RECORDS, operation, record)
if ARGV[5] ~= '' then redis.call('HSET', OUTPUTS, operation, ARGV[5]) end
if not parent then return settle(operation, state, goes_on, record) end

redis.call('HSET', STATES, operation, state)
redis.call('ZREM', OUTBOX, operation)
tell(operation, state, record)
if state ~= 'succeeded' then redis.call('HINCRBY', REMAINING, parent .. ':' .. state, 1) end
if redis.call('HINCRBY', REMAINING, parent, -1) > 0 then
  if redis.call('HGET', RUN, 'state') ~= 'running' then let_go() end
  return {}
end
local outcome = 'succeeded'
for _, worse in ipairs({'cancelled', 'failed', 'unknown'}) do
  if redis.call('HGET', REMAINING, parent .. ':' .. worse) then outcome = worse end
end
if outcome == 'cancelled' then outcome = 'failed' end
return settle(parent, outcome, goes_on, '')
