-- An agent is about to do operations of a run: may it, and with which outputs of earlier ones?
-- KEYS: the run's. ARGV: agent, then per operation: operation, a token of this delivery, how many operations it refers
-- to, and those. With the token '' it is only looked at, and not begun.
-- Returns an answer for each: {'go', attempt, attempts before the run was resumed, item or '', value, value, …}, one
-- value a reference: {'one', state, output, record} or {'each', state, output, record, state, output, record, …} for a
-- foreach; {'over', state} when the operation or its run is over, with a third word when its message stood for another
-- operation, which is to be published now; {'early'} when it is not ready, since what released it was lost with its
-- node and comes again, or when somebody does it without this message; or {'gone'} when there is no such run.
-- Run twice with the same tokens: 'go' again, with the same numbers of the attempts.
--@include run_keys
--@include begin
local agent = ARGV[1]

local function start(name, token, first, last)
  if not run_state then return {'gone'} end
  local operation = meant(name)
  if not operation then
    write_again()
    return {'over', 'resumed'}
  end
  if is_over(operation) then
    write_again()
    return {'over', redis.call('HGET', STATES, operation), token ~= '' and set_free(operation) or nil}
  end
  local attempt, last_token, carrier = last_attempt(operation)
  local repeated = last_token == token
  if carrier ~= '' and last_token ~= '' and not repeated and is_running(operation) then return {'early'} end
  if run_state ~= 'running' then
    if is_running(operation) then
      local state = repeated and 'cancelled' or 'unknown'
      redis.call('HSET', STATES, operation, state)
      tell(operation, state, '')
      let_go()
    end
    return {'over', run_state}
  end
  if redis.call('ZADD', OUTBOX, seconds() * 1000, operation) == 1 and not is_running(operation) then
    redis.call('ZREM', OUTBOX, operation)
    return {'early'}
  end
  if token ~= '' and not repeated then
    attempt = attempt + 1
    write_attempt(agent, operation, attempt, token)
  end
  return go(operation, attempt, first, last)
end

local answers, i = {}, 2
while ARGV[i] do
  local last = i + 2 + tonumber(ARGV[i + 2])
  answers[#answers + 1] = start(ARGV[i], ARGV[i + 1], i + 3, last)
  i = last + 1
end
return answers
