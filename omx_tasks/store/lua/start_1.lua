-- An agent is about to do operations of a run: may it, and with which outputs of earlier ones?
-- KEYS: the run's. ARGV: agent, then per operation: operation, a token of this delivery, how many operations it refers
-- to, and those. With the token '' it is only looked at, and not begun.
-- Returns an answer for each: {'go', attempt, attempts before the run was resumed, item or '', value, value, …}, one
-- value a reference: {'one', state, output, record} or {'each', state, output, record, state, output, record, …} for a
-- foreach; or {'over', state} when the operation or its run is over; {'early'} when it is not ready: what released it was
-- lost with its node, and comes again; or {'gone'} when there is no such run.
-- Run twice with the same tokens: 'go' again, with the same numbers of the attempts.
--@include run_keys
local agent = ARGV[1]
local exists = redis.call('EXISTS', RUN) == 1
local run_state = redis.call('HGET', RUN, 'state')

local function value(id)
  return redis.call('HGET', STATES, id) or '', redis.call('HGET', OUTPUTS, id) or '',
    redis.call('HGET', RECORDS, id) or ''
end

local function values_of(reference)
  local count = redis.call('HGET', ITEMS, reference)
  if not count then return {'one', value(reference)} end
  local values = {'each'}
  for index = 0, tonumber(count) - 1 do
    local state, output, record = value(reference .. '[' .. index .. ']')
    values[#values + 1], values[#values + 2], values[#values + 3] = state, output, record
  end
  return values
end

local function start(name, token, first, last)
  if not exists then return {'gone'} end
  local operation = meant(name)
  if not operation or is_over(operation) then
    write_again()
    return {'over', operation and redis.call('HGET', STATES, operation) or 'resumed'}
  end

  local earlier = redis.call('HGET', REMAINING, operation .. ':attempt') or '0 '
  local last_attempt, last_token = string.match(earlier, '^(%d+) (.*)$')
  local repeated = last_token == token
  if run_state ~= 'running' then
    if is_running(operation) then
      local state = repeated and 'cancelled' or 'unknown'
      redis.call('HSET', STATES, operation, state)
      tell(operation, state, '')
      let_go()
    end
    return {'over', run_state}
  end

  local attempt = tonumber(last_attempt)
  if redis.call('ZADD', OUTBOX, seconds() * 1000, operation) == 1 and not is_running(operation) then
    redis.call('ZREM', OUTBOX, operation)
    return {'early'}
  end
  if token ~= '' and not repeated then
    attempt = attempt + 1
    redis.call('HSET', REMAINING, operation .. ':attempt', attempt .. ' ' .. token)
    redis.call('HSET', STATES, operation, 'running')
    tell(operation, 'running', agent)
  end
  local item = string.find(operation, '[', 1, true) and redis.call('HGET', ITEMS, operation) or ''
  local before = tonumber(redis.call('HGET', REMAINING, operation .. ':before') or 0)
  local answer = {'go', attempt, before, item}
  for i = first, last do answer[#answer + 1] = values_of(ARGV[i]) end
  return answer
end

local answers, i = {}, 2
while ARGV[i] do
  local last = i + 2 + tonumber(ARGV[i + 2])
  answers[#answers + 1] = start(ARGV[i], ARGV[i + 1], i + 3, last)
  i = last + 1
end
return answers
