-- Write the outcomes of operations of a run and count each into every join it is part of.
-- One of those that become ready may go on at once where the operation ended, without a message of its own.
-- KEYS: the run's. ARGV: agent, then per operation: operation, state, 1 if its dependents run even when it failed, record
-- (JSON), output (JSON), 1 if its call was another operation's too, how many arguments follow; those are none, or: the
-- operation that may go on, a token of its attempt, the operation whose message stands for it, and those it refers to.
-- Returns for each: {those that it made ready}, or {the others, what `start` answers for the one that goes on}.
-- What ends after its run was resumed counts no more.
-- Run twice: the first outcome stays; returns those of its successors that nobody has begun, and the same one goes on.
--@include run_keys
--@include begin
local agent, exists = ARGV[1], run_state

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

-- Take the one that may go on out of what is ready, and begin it; one that this token began already goes on again.
local function following(ready, repeated, name, token, carrier, first, last)
  local operation = meant(name)
  if not operation then return nil end
  if repeated then
    local attempt, last_token = last_attempt(operation)
    if last_token == token and is_running(operation) then return go(operation, attempt, first, last) end
    return nil
  end
  for i, id in ipairs(ready) do
    if id == name then
      table.remove(ready, i)
      return go_on(agent, operation, token, meant(carrier), first, last)
    end
  end
end

local answers, i = {}, 2
while ARGV[i] do
  local goes_on, shared, more = ARGV[i + 2] == '1', ARGV[i + 5] == '1', tonumber(ARGV[i + 6])
  local repeated = more > 0 and is_over(meant(ARGV[i]) or '')
  local ready = finish(ARGV[i], ARGV[i + 1], goes_on, ARGV[i + 3], ARGV[i + 4], shared)
  local answer, last = {ready}, i + 6 + more
  if more > 0 then
    answer[2] = following(ready, repeated, ARGV[i + 7], ARGV[i + 8], ARGV[i + 9], i + 10, last)
  end
  answers[#answers + 1] = answer
  i = last + 1
end
return answers
