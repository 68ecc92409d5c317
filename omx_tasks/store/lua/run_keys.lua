-- The keys of a run, in the order of keys.run_keys(), and what several of its scripts share.
--
-- A run: running → succeeded | failed | cancelled; failed | cancelled ──resume──► running, a generation later.
-- An operation: (waiting) → running → succeeded | failed | unknown | cancelled; or (waiting) → skipped | cancelled.
-- The first outcome of an operation in a generation wins; a repeat changes nothing.
-- The outbox holds what is ready or running, by the time (ms) at which it was last known to be on its way.
local RUN, PLAN, WAITS, SUCCESSORS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local STATES, RECORDS, OUTPUTS, ITEMS = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local REMAINING, OUTBOX, STREAM = KEYS[9], KEYS[10], KEYS[11]

-- How often the run was resumed. From then on its operations are named with it outside of here, `a:1`: whatever still
-- comes for one under an older name, a message or the end of a call, is too late.
local GENERATION = redis.call('HGET', RUN, 'generation') or ''

local OVER = {succeeded = true, failed = true, unknown = true, skipped = true, cancelled = true}

-- The time stands still while a script runs.
local asked_time = nil
local function seconds()
  if not asked_time then
    local time = redis.call('TIME')
    asked_time = tonumber(time[1]) + tonumber(time[2]) / 1000000
  end
  return asked_time
end

-- The operation that a name from outside means, or nil where that is of another generation.
local function meant(name)
  local operation, generation = string.match(name, '^([^:]+):?(.*)$')
  if generation == GENERATION then return operation end
end

-- What an operation is called outside.
local function named(operation)
  return GENERATION == '' and operation or operation .. ':' .. GENERATION
end

-- An entry of the stream tells of one change, or of several that come together.
local function tell(operation, state, record)
  return redis.call('XADD', STREAM, 'MAXLEN', '~', 100000, '*',
    'operation', operation, 'state', state, 'record', record or '')
end

-- What ends is noted and then written with a handful of commands: some for each operation would cost twice as much.
local noted = {states = {}, records = {}, outputs = {}, gone = {}, changes = {}, ended = 0, failed = 0}
local known = {}

local function note_change(operation, state, record)
  local changes = noted.changes
  local size = #changes
  changes[size + 1], changes[size + 2] = 'operation', operation
  changes[size + 3], changes[size + 4] = 'state', state
  changes[size + 5], changes[size + 6] = 'record', record or ''
end

local function write_changes()
  local changes = noted.changes
  for first = 1, #changes, 600 do
    redis.call('XADD', STREAM, 'MAXLEN', '~', 100000, '*', unpack(changes, first, math.min(first + 599, #changes)))
  end
  noted.changes = {}
end

local function add(words, first, second)
  local size = #words
  words[size + 1], words[size + 2] = first, second
end

-- Read the states of some operations at once.
local function look_up(operations)
  if #operations == 0 then return end
  for i, state in ipairs(redis.call('HMGET', STATES, unpack(operations))) do known[operations[i]] = state end
end

local function state_of(operation)
  if known[operation] == nil then known[operation] = redis.call('HGET', STATES, operation) end
  return known[operation]
end

local function note(operation, state)
  known[operation] = state
  add(noted.states, operation, state)
  noted.gone[#noted.gone + 1] = operation
end

-- Lua hands over a few thousand words at once, not more.
local function in_parts(command, key, words)
  for first = 1, #words, 1000 do
    redis.call(command, key, unpack(words, first, math.min(first + 999, #words)))
  end
end

local function is_over(operation)
  local state = state_of(operation)
  return state and OVER[state] or false
end

-- Fields of a hash that never change while a script runs, or are read before: many of them are read at once.
local function reader(key)
  local read = {}
  local function field(name)
    if read[name] == nil then read[name] = redis.call('HGET', key, name) end
    return read[name]
  end
  local function ahead(names)
    if #names == 0 then return end
    for i, text in ipairs(redis.call('HMGET', key, unpack(names))) do read[names[i]] = text end
  end
  return field, ahead
end

local link, read_links = reader(SUCCESSORS)

-- A fallback runs when the operation failed in whose place it is, which then does not end its dependents: they are the
-- fallback's successors too. One that is not needed is skipped, without those being skipped.
local function fallback_of(operation)
  local text = link('fallback:' .. operation)
  return text and cjson.decode(text)
end

-- Whether an operation failed and is left to its fallback.
local function is_left_to_fallback(operation)
  return state_of(operation) == 'failed' and fallback_of(operation)
end

local function successors_of(operation)
  local text = link(operation)
  return text and cjson.decode(text) or {}
end

-- Write operation, waits, successors for each, from an argument on: who waits for how many, and who for whom.
local function write_links(first)
  for i = first, #ARGV, 3 do
    if ARGV[i + 1] ~= '0' then redis.call('HSET', WAITS, ARGV[i], ARGV[i + 1]) end
    if ARGV[i + 2] ~= '[]' then redis.call('HSET', SUCCESSORS, ARGV[i], ARGV[i + 2]) end
  end
end

-- A step was asked for again: something is written as it is, so that the answer can be confirmed as the first one.
local function write_again()
  redis.call('HSET', RUN, 'state', redis.call('HGET', RUN, 'state'))
end

local function is_running(operation)
  return state_of(operation) == 'running'
end

-- The names of those of some operations that are ready and that nobody has begun yet.
local function still_waiting(operations)
  local found = {}
  for _, id in ipairs(operations) do
    if redis.call('ZSCORE', OUTBOX, id) and not is_running(id) then found[#found + 1] = named(id) end
  end
  return found
end

-- What is written after the end of a run goes when the rest of it does.
local function let_go()
  local keep = redis.call('HGET', RUN, 'keep')
  for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, keep, 'NX') end
end

-- The state of the run, where this script brought it to its end.
local closed = nil
local function end_run(state)
  redis.call('HSET', RUN, 'state', state, 'finished', string.format('%.6f', seconds()))
  tell('', state, GENERATION)
  let_go()
  closed = state
end

-- After what is ready, an answer names the end of the run, if that is it: '' and its state.
local function name_end(ready, state)
  if state ~= 'succeeded' and state ~= 'failed' then return end
  ready[#ready + 1], ready[#ready + 2] = '', state
end

-- End a run before its operations are over; `why` is JSON of kind and message, or ''.
local function cancel_run(why)
  redis.call('HSET', RUN, 'error', why)
  redis.call('DEL', OUTBOX)
  end_run('cancelled')
end

-- Give a run so many seconds from now on.
local function set_deadline(timeout)
  redis.call('HSET', RUN, 'timeout', timeout, 'deadline', string.format('%.6f', seconds() + timeout))
end

-- Cancel a run whose time is over; returns its state.
local function state_in_time()
  local state, deadline, timeout = unpack(redis.call('HMGET', RUN, 'state', 'deadline', 'timeout'))
  if state ~= 'running' or not deadline or seconds() < tonumber(deadline) then return state end
  cancel_run('{"kind": "timeout", "message": "its timeout of ' .. timeout .. ' s was over before it was"}')
  return 'cancelled'
end

-- The run is over when none of its operations is open.
local function close_run_if_done(open)
  if open <= 0 then end_run(tonumber(redis.call('HGET', RUN, 'failed')) > 0 and 'failed' or 'succeeded') end
end

-- Write what was noted.
local function write_down(run_state)
  write_changes()
  in_parts('HSET', STATES, noted.states)
  in_parts('HSET', RECORDS, noted.records)
  in_parts('HSET', OUTPUTS, noted.outputs)
  in_parts('ZREM', OUTBOX, noted.gone)
  if noted.failed > 0 then redis.call('HINCRBY', RUN, 'failed', noted.failed) end
  local open = noted.ended > 0 and redis.call('HINCRBY', RUN, 'open', -noted.ended)
  if run_state ~= 'running' then
    if #noted.states > 0 then let_go() end
  elseif open then
    close_run_if_done(open)
  end
end

-- Note that an operation which nobody has begun is skipped; false when it has a state already.
local function skip(operation)
  if state_of(operation) then return false end
  note(operation, 'skipped')
  noted.ended = noted.ended + 1
  note_change(operation, 'skipped')
  return true
end

-- The fallback of an operation, and the fallback's own, are not needed.
local function skip_fallbacks(operation)
  local instead = fallback_of(operation)
  while instead and skip(instead) do instead = fallback_of(instead) end
end

-- Whether what follows an operation is lost when that is skipped: a fallback that is not needed yet is no loss.
local function is_needed(operation)
  local text = redis.call('HGET', SUCCESSORS, 'in_place_of:' .. operation)
  return not text or state_of(cjson.decode(text)) == 'failed'
end

local function skip_after(operation)
  local queue, head = {operation}, 1
  while queue[head] do
    for _, next_one in ipairs(successors_of(queue[head])) do
      if skip(next_one) then
        skip_fallbacks(next_one)
        if is_needed(next_one) then queue[#queue + 1] = next_one end
      end
    end
    head = head + 1
  end
end

-- Count a finished operation into every join it is part of; returns the names of what became ready by it.
local function release_after(operation)
  local ready = {}
  for _, next_one in ipairs(successors_of(operation)) do
    if redis.call('HINCRBY', WAITS, next_one, -1) == 0 and not state_of(next_one) then
      redis.call('ZADD', OUTBOX, seconds() * 1000, next_one)
      ready[#ready + 1] = named(next_one)
    end
  end
  return ready
end

-- An operation failed: its fallback begins as soon as all else that it waits for is there. Returns it if that is now;
-- nil when it was skipped before, for want of that.
local function fall_back(instead)
  if state_of(instead) then return nil end
  if redis.call('HINCRBY', WAITS, instead, -1) > 0 then return {} end
  redis.call('ZADD', OUTBOX, seconds() * 1000, instead)
  return {named(instead)}
end

-- Note an operation's outcome; `write_down` writes it. 'goes_on': its dependents run even though it failed. Nothing
-- follows in a run that was cancelled.
local function settle(run_state, operation, state, goes_on, record)
  note(operation, state)
  noted.ended = noted.ended + 1
  note_change(operation, state, record)
  if run_state ~= 'running' then return {} end
  local instead = fallback_of(operation)
  local ready = instead and state == 'failed' and fall_back(instead)
  if ready then return ready end
  if instead then skip_fallbacks(operation) end
  ready = {}
  if state == 'succeeded' or goes_on then
    ready = release_after(operation)
  else
    skip_after(operation)
  end
  if state ~= 'succeeded' and not (state == 'failed' and goes_on) then noted.failed = noted.failed + 1 end
  return ready
end
