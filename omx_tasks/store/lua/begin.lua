-- How operations begin, for the scripts in which some do. Needs run_keys.
--
-- REMAINING holds, under "OPERATION:attempt", the number of the last attempt and its token. An operation that goes on
-- where the one before it ended has no message: its attempt also names the operation whose message stands for it, the
-- carrier, and "CARRIER:carried" names it. When the carrier is delivered again, whoever had it is gone: the token of what
-- it carried is wiped out, and that is published as any other.

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

-- What an operation reads where it refers to another one: the value of the fallback that ran in that one's place, but
-- its own value for the fallback itself.
local function read_by(operation, reference)
  local instead = is_left_to_fallback(reference)
  while instead and instead ~= operation do
    reference, instead = instead, is_left_to_fallback(instead)
  end
  return reference
end

local remaining, read_remaining = reader(REMAINING)

-- What whoever begins an operation must know; the ids in these arguments are those that it refers to.
local function go(operation, attempt, first, last)
  local item = string.find(operation, '[', 1, true) and redis.call('HGET', ITEMS, operation) or ''
  local before = tonumber(remaining(operation .. ':before') or 0)
  local answer = {'go', attempt, before, item}
  for i = first, last do answer[#answer + 1] = values_of(read_by(operation, ARGV[i])) end
  return answer
end

local attempts, running = {}, {}

-- Number, token and carrier ('': it has a message) of the last attempt.
local function last_attempt(operation)
  local text = attempts[operation] or remaining(operation .. ':attempt')
  if not text then return 0, '', '' end
  local number, token, carrier = string.match(text, '^(%d+) ([^\n]*)\n?(.*)$')
  return tonumber(number), token, carrier
end

-- Note an attempt; `write_attempts` writes all of them.
local function note_attempt(agent, operation, attempt, token)
  attempts[operation] = attempt .. ' ' .. token
  known[operation] = 'running'
  add(running, operation, 'running')
  note_change(operation, 'running', agent)
end

local function write_attempts()
  write_changes()
  local words = {}
  for operation, text in pairs(attempts) do add(words, operation .. ':attempt', text) end
  in_parts('HSET', REMAINING, words)
  in_parts('HSET', STATES, running)
end

-- Begin an operation that has just become ready without a message.
local function go_on(agent, operation, token, carrier, first, last)
  local attempt = last_attempt(operation) + 1
  redis.call('HSET', REMAINING, carrier .. ':carried', operation)
  note_attempt(agent, operation, attempt, token .. '\n' .. carrier)
  return go(operation, attempt, first, last)
end

-- The running operation that a delivery stood for, if there is one: it needs a message of its own from now on.
local function set_free(carrier)
  local operation = redis.call('HGET', REMAINING, carrier .. ':carried')
  if not operation or not is_running(operation) then return nil end
  local attempt, _, of = last_attempt(operation)
  if of ~= carrier then return nil end
  attempts[operation] = attempt .. ' \n' .. carrier
  redis.call('HSET', REMAINING, operation .. ':attempt', attempts[operation])
  return named(operation)
end
