-- Write the outcomes of operations of a run and count each into every join it is part of.
-- One of those that become ready may go on at once where the operation ended, without a message of its own.
-- KEYS: the run's. ARGV: agent, then per operation: operation, state, 1 if its dependents run even when it failed, record
-- (JSON), output (JSON), 1 if its call was another operation's too, how many arguments follow; those are none, or: the
-- operation that may go on, a token of its attempt, the operation whose message stands for it, and those it refers to.
-- Returns for each: {those that it made ready: its fallback, where it failed and has one}, or {the others, what `start`
-- answers for the one that goes on}.
-- After what the last one made ready: '' and the state of the run, where it is over.
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
    local instead = is_left_to_fallback(operation)
    return still_waiting(instead and {instead} or successors_of(parent or operation))
  end
  add(noted.records, operation, record)
  if output ~= '' then add(noted.outputs, operation, output) end
  if shared then redis.call('HINCRBY', RUN, 'shared', 1) end
  if not parent then return settle(run_state, operation, state, goes_on, record) end

  note(operation, state)
  note_change(operation, state, record)
  if state ~= 'succeeded' then redis.call('HINCRBY', REMAINING, parent .. ':' .. state, 1) end
  if redis.call('HINCRBY', REMAINING, parent, -1) > 0 then return {} end
  local outcome = 'succeeded'
  for _, worse in ipairs({'cancelled', 'failed', 'unknown'}) do
    if redis.call('HGET', REMAINING, parent .. ':' .. worse) then outcome = worse end
  end
  if outcome == 'cancelled' then outcome = 'failed' end
  return settle(run_state, parent, outcome, goes_on, '')
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

local begins, operations, links, i = {}, {}, {}, 2
while ARGV[i] do
  local operation = meant(ARGV[i]) or ''
  begins[#begins + 1], operations[#operations + 1] = i, operation
  add(links, operation, 'fallback:' .. operation)
  i = i + 7 + tonumber(ARGV[i + 6])
end
look_up(operations)
read_links(links)

local answers, repeated = {}, {}
for n, first in ipairs(begins) do
  local name, state, goes_on, record, output, shared = unpack(ARGV, first, first + 5)
  repeated[n] = is_over(operations[n])
  answers[n] = {finish(name, state, goes_on == '1', record, output, shared == '1')}
end
if exists then write_down(run_state) end

for n, first in ipairs(begins) do
  local more = tonumber(ARGV[first + 6])
  if more > 0 then
    local name, token, carrier = unpack(ARGV, first + 7, first + 9)
    answers[n][2] = following(answers[n][1], repeated[n], name, token, carrier, first + 10, first + 6 + more)
  end
end
write_attempts()
if #answers > 0 then name_end(answers[#answers][1], closed or run_state) end
return answers
