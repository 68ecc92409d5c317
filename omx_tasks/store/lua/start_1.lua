-- An agent is about to do an operation: may it, and with which outputs of earlier ones?
-- KEYS: the run's. ARGV: operation, agent, then the operations it refers to.
-- Returns {'go', attempt, item or '', value, value, …}, one value a reference: {'one', state, output, record} or
-- {'each', state, output, record, state, output, record, …} for a foreach; or {'over', state} when the operation or
-- its run is over; or {'gone'} when there is no such run.
-- Run twice: 'go' again, with the next attempt's number.
--@include run_keys
if redis.call('EXISTS', RUN) == 0 then return {'gone'} end
local operation = ARGV[1]
if is_over(operation) then return {'over', redis.call('HGET', STATES, operation)} end
local parent = string.match(operation, '^([^%[]+)%[')
if redis.call('HGET', RUN, 'state') ~= 'running' then return {'over', redis.call('HGET', RUN, 'state')} end
redis.call('ZREM', OUTBOX, operation)
redis.call('HSET', STATES, operation, 'running')
local attempt = redis.call('HINCRBY', REMAINING, operation .. ':attempts', 1)
tell(operation, 'running', ARGV[2])

local function value(id)
  return redis.call("HGET", STATES, id) or "", redis.call("HGET", OUTPUTS, id) or "",
    redis.call("HGET", RECORDS, id) or ""
end

local answer = {'go', attempt, parent and redis.call('HGET', ITEMS, operation) or ''}
for i = 3, #ARGV do
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
