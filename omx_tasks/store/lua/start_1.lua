-- An agent is about to do an operation: may it, and with which outputs of earlier ones?
-- KEYS: the run's. ARGV: operation, agent, a token of this delivery, then the operations it refers to.
-- Returns {'go', attempt, item or '', value, value, …}, one value a reference: {'one', state, output, record} or
-- {'each', state, output, record, state, output, record, …} for a foreach; or {'over', state} when the operation or
-- its run is over; or {'gone'} when there is no such run.
-- Run twice with one token: 'go' again, with the same number of the attempt.
--@include run_keys
if redis.call('EXISTS', RUN) == 0 then return {'gone'} end
local operation, token = ARGV[1], ARGV[3]
if is_over(operation) then return {'over', redis.call('HGET', STATES, operation)} end

local last_attempt, last_token = string.match(redis.call('HGET', REMAINING, operation .. ':attempt') or '0 ', '^(%d+) (.*)$')
local repeated = last_token == token
local run_state = redis.call('HGET', RUN, 'state')
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
redis.call('ZADD', OUTBOX, seconds() * 1000, operation)
if not repeated then
  attempt = attempt + 1
  redis.call('HSET', REMAINING, operation .. ':attempt', attempt .. ' ' .. token)
  redis.call('HSET', STATES, operation, 'running')
  tell(operation, 'running', ARGV[2])
end

local function value(id)
  return redis.call('HGET', STATES, id) or '', redis.call('HGET', OUTPUTS, id) or '',
    redis.call('HGET', RECORDS, id) or ''
end

local item = string.find(operation, '[', 1, true) and redis.call('HGET', ITEMS, operation) or ''
local answer = {'go', attempt, item}
for i = 4, #ARGV do
  local count = redis.call('HGET', ITEMS, ARGV[i])
  local values = {count and 'each' or 'one'}
  if count then
    for index = 0, tonumber(count) - 1 do
      local state, output, record = value(ARGV[i] .. '[' .. index .. ']')
      values[#values + 1], values[#values + 2], values[#values + 3] = state, output, record
    end
  else
    values[2], values[3], values[4] = value(ARGV[i])
  end
  answer[#answer + 1] = values
end
return answer
