-- Write the outcomes of operations of a run and count each into every join it is part of.
-- KEYS: the run's. ARGV: per operation: operation, state, 1 if its dependents run even when it failed, record (JSON),
-- output (JSON), 1 if its call was another operation's too.
-- Returns for each the operations that it made ready.
-- What ends after its run was resumed counts no more.
-- Run twice: the first outcome stays; returns those of its successors that nobody has begun.
--@include run_keys
local exists = redis.call('EXISTS', RUN) == 1

local function finish(name, state, goes_on, record, output, shared)
  if not exists then return {} end
  local operation = meant(name)
  if not operation then
    write_again()
    return {}
  end
  local parent = string.match(operation, '^([^%[]+)%[')
  if is_over(operation) then
    write_again()
    return still_waiting(successors_of(parent or operation))
  end
  redis.call('HSET', RECORDS, operation, record)
  if output ~= '' then redis.call('HSET', OUTPUTS, operation, output) end
  if shared then redis.call('HINCRBY', RUN, 'shared', 1) end
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
end

local ready = {}
for i = 1, #ARGV, 6 do
  local goes_on, shared = ARGV[i + 2] == '1', ARGV[i + 5] == '1'
  ready[#ready + 1] = finish(ARGV[i], ARGV[i + 1], goes_on, ARGV[i + 3], ARGV[i + 4], shared)
end
return ready
