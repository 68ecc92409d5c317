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
local now = seconds() * 1000
local kept = {}

local function start(name, token, on_its_way, first, last)
  if not run_state then return {'gone'} end
  local operation = meant(name)
  if not operation then
    write_again()
    return {'over', 'resumed'}
  end
  if is_over(operation) then
    write_again()
    return {'over', state_of(operation), token ~= '' and set_free(operation) or nil}
  end
  local attempt, last_token, carrier = last_attempt(operation)
  local repeated = last_token == token
  if carrier ~= '' and last_token ~= '' and not repeated and is_running(operation) then return {'early'} end
  if run_state ~= 'running' then
    if is_running(operation) then
      local state = repeated and 'cancelled' or 'unknown'
      note(operation, state)
      note_change(operation, state)
    end
    return {'over', run_state}
  end
  if not (on_its_way or is_running(operation)) then return {'early'} end
  add(kept, now, operation)
  if token ~= '' and not repeated then
    attempt = attempt + 1
    note_attempt(agent, operation, attempt, token)
  end
  return go(operation, attempt, first, last)
end

local begins, operations, fields, i = {}, {}, {}, 2
while ARGV[i] do
  local operation = meant(ARGV[i]) or ''
  begins[#begins + 1], operations[#operations + 1] = i, operation
  add(fields, operation .. ':attempt', operation .. ':before')
  i = i + 3 + tonumber(ARGV[i + 2])
end
look_up(operations)
read_remaining(fields)
local ready = redis.call('ZMSCORE', OUTBOX, unpack(operations))

local answers = {}
for n, first in ipairs(begins) do
  answers[n] = start(ARGV[first], ARGV[first + 1], ready[n], first + 3, first + 2 + tonumber(ARGV[first + 2]))
end
in_parts('ZADD', OUTBOX, kept)
write_attempts()
write_down(run_state)
return answers
