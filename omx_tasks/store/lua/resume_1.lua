-- Take up a run that failed or was cancelled: what is not done is to be done, in a new generation of its names.
-- Done are operations that succeeded, and those that failed where the run goes on after a failure: others have seen
-- their error. One that is unknown is tried again ('retry'), counts as done ('done': somebody saw to it), or stays so,
-- and what needs it skipped ('keep').
-- An operation and its fallbacks are done when one of them is, else all of them begin again. Of a foreach the items that
-- are done stay. What is to be done again is begun anew although it is done, a foreach with all its items; where
-- one of these stays unknown, only what is not done. An operation that was interrupted without an outcome keeps the number of
-- its attempt, and the note that its call was sent: by that its agent knows that it may have been done.
-- KEYS: the run's. ARGV: a token of this request, what becomes of unknown operations, of how many that is said one by one,
-- those: operation, what becomes of it; then for each operation: operation, 1 if its dependents run even when it failed,
-- 1 if it is to be done again.
-- Returns {'resumed', generation, name, …} with what is ready; or {reason}: '' when there is no such run, its state when
-- that is neither failed nor cancelled, or 'nothing' when nothing is left that would be done.
-- Run twice with one token: the second changes nothing and returns what nobody has begun yet.
--@include run_keys
local token, choices, first = ARGV[1], {}, 4 + 2 * tonumber(ARGV[3])
for i = 4, first - 1, 2 do choices[ARGV[i]] = ARGV[i + 1] end

local function mapping(key)
  local flat, found = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

local function resumed(ready)
  local answer = {'resumed', GENERATION}
  for _, name in ipairs(ready) do answer[#answer + 1] = name end
  return answer
end

local state = redis.call('HGET', RUN, 'state')
if not state then return {''} end
if redis.call('HGET', RUN, 'resumed_by') == token then
  write_again()
  return resumed(still_waiting(redis.call('ZRANGE', OUTBOX, 0, -1)))
end
if state ~= 'failed' and state ~= 'cancelled' then return {state} end

local states, successors, items, remaining = mapping(STATES), mapping(SUCCESSORS), mapping(ITEMS), mapping(REMAINING)
for operation, text in pairs(successors) do successors[operation] = cjson.decode(text) end

local function has_outcome(id)
  return redis.call('HEXISTS', RECORDS, id) == 1
end

local function choice(id)
  return choices[id] or ARGV[2]
end

-- Operations that somebody says were done.
local accepted = {}
for id, state in pairs(states) do
  local is_foreach = items[id] and not string.find(id, '[', 1, true)
  if state == 'unknown' and choice(id) == 'done' and has_outcome(id) and not is_foreach then accepted[#accepted + 1] = id end
end
for _, id in ipairs(accepted) do states[id] = 'succeeded' end

local function is_to_do(id, goes_on, again)
  local state = states[id]
  if state == 'unknown' then return choice(id) == 'retry' or not has_outcome(id) end
  if again then return true end
  if state == 'succeeded' then return false end
  if state == 'failed' then return not goes_on end
  return true
end

local function ids_of_items(operation)
  local found = {}
  for index = 0, tonumber(items[operation]) - 1 do found[#found + 1] = operation .. '[' .. index .. ']' end
  return found
end

-- Whether a foreach can get its items anew: none of them stays unknown.
local function can_expand_again(operation)
  for _, id in ipairs(ids_of_items(operation)) do
    if states[id] == 'unknown' and choice(operation) ~= 'retry' and not is_to_do(id) then return false end
  end
  return true
end

-- Of a foreach that was expanded: the items to do, how many were never stored, and what became of the others.
local function items_of(operation, goes_on)
  local found = {todo = {}, missing = 0, kept = {}}
  for _, id in ipairs(ids_of_items(operation)) do
    if not items[id] then
      found.missing = found.missing + 1
    elseif is_to_do(id, goes_on) then
      found.todo[#found.todo + 1] = id
    elseif states[id] ~= 'succeeded' then
      found.kept[states[id]] = (found.kept[states[id]] or 0) + 1
    end
  end
  return found
end

-- What is to be done, before what cannot be done is taken out of it.
local order, todo, expanded, emptied, blocking, unknown = {}, {}, {}, {}, {}, 0
for i = first, #ARGV, 3 do
  local operation, goes_on, again = ARGV[i], ARGV[i + 1] == '1', ARGV[i + 2] == '1'
  order[#order + 1] = operation
  if again and items[operation] and can_expand_again(operation) then
    emptied[operation] = ids_of_items(operation)
    items[operation] = nil
  end
  if items[operation] and states[operation] ~= 'succeeded' then
    local found = items_of(operation, goes_on)
    if #found.todo + found.missing > 0 then
      todo[operation], expanded[operation] = true, found
    elseif not next(found.kept) then
      accepted[#accepted + 1], states[operation] = operation, 'succeeded'
    end
  elseif emptied[operation] or (not items[operation] and is_to_do(operation, goes_on, again)) then
    todo[operation] = true
  end
  if states[operation] == 'unknown' and not todo[operation] then
    unknown = unknown + 1
    if not goes_on then blocking[#blocking + 1] = operation end
  end
end

local function fallbacks_of(operation)
  local found, instead = {}, successors['fallback:' .. operation]
  while instead do
    found[#found + 1] = instead
    instead = successors['fallback:' .. instead]
  end
  return found
end

local function is_fallback(operation)
  return successors['in_place_of:' .. operation]
end

-- Whether an operation or one of its fallbacks is done, or may be.
local function is_settled(operation, fallbacks)
  local id = operation
  for i = 1, #fallbacks + 1 do
    local next_one = fallbacks[i]
    if (states[id] == 'succeeded' and not todo[id]) or (states[id] == 'unknown' and not todo[id]) then return true end
    if states[id] == 'failed' and not todo[id] and (not next_one or states[next_one] == 'skipped') then return true end
    id = next_one
  end
  return false
end

for _, operation in ipairs(order) do
  local fallbacks = fallbacks_of(operation)
  if fallbacks[1] and not is_fallback(operation) then
    local again = not is_settled(operation, fallbacks)
    todo[operation] = again
    for _, instead in ipairs(fallbacks) do todo[instead] = again end
  end
end

local blocked, head = {}, 1
while blocking[head] do
  for _, next_one in ipairs(successors[blocking[head]] or {}) do
    if todo[next_one] and not blocked[next_one] then
      blocked[next_one] = true
      for _, instead in ipairs(fallbacks_of(next_one)) do blocked[instead] = true end
      if not is_fallback(next_one) then blocking[#blocking + 1] = next_one end
    end
  end
  head = head + 1
end

local waits, open = {}, 0
local function wait_for_one_more(operation) waits[operation] = (waits[operation] or 0) + 1 end
for _, operation in ipairs(order) do
  if todo[operation] then
    if not blocked[operation] then open = open + 1 end
    if not is_fallback(operation) then  -- else its successors wait for the operation in whose place it is
      for _, next_one in ipairs(successors[operation] or {}) do wait_for_one_more(next_one) end
    end
    local instead = successors['fallback:' .. operation]
    if instead then wait_for_one_more(instead) end
  end
end
if open + #accepted == 0 then return {'nothing'} end

for _, key in ipairs(KEYS) do redis.call('PERSIST', key) end
local ended = redis.call('HMGET', RUN, 'finished', 'idle', 'timeout')
local idle = seconds() - tonumber(ended[1]) + tonumber(ended[2] or 0)
GENERATION = tostring(redis.call('HINCRBY', RUN, 'generation', 1))
redis.call('HSET', RUN, 'state', 'running', 'resumed_by', token, 'resumed', string.format('%.6f', seconds()),
  'finished', '', 'idle', string.format('%.6f', idle), 'open', open, 'failed', unknown)
redis.call('HDEL', RUN, 'error', 'deadline')
if ended[3] then set_deadline(ended[3]) end
tell('', 'running', GENERATION)

local ready = {}
local function make_ready(id)
  redis.call('ZADD', OUTBOX, seconds() * 1000 + #ready / 1000, id)  -- in their order
  ready[#ready + 1] = named(id)
end

-- Of most operations little is to be written: many of them with one command.
local MANY = 1000
local gathered = {HDEL = {STATES}, HSET = {WAITS}}
local function write_gathered(command, least)
  local words = gathered[command]
  if #words > least then
    redis.call(command, unpack(words))
    gathered[command] = {words[1]}
  end
end

local function gather(command, ...)
  local words = gathered[command]
  for _, word in ipairs({...}) do words[#words + 1] = word end
  write_gathered(command, MANY)
end

-- Forget how an operation ended; its attempts go on counting.
local function begin_anew(id)
  local state = states[id]
  if not state then return end
  if state == 'skipped' then return gather('HDEL', id) end
  if state == 'running' or (state == 'unknown' and choice(id) ~= 'retry' and not has_outcome(id)) then
    redis.call('HDEL', STATES, id)
    tell(id, 'waiting', '')
    return
  end
  local record = redis.call('HGET', RECORDS, id)
  local attempts = record and cjson.decode(record).attempts
    or tonumber(string.match(remaining[id .. ':attempt'] or '0 ', '^%d+')) + tonumber(remaining[id .. ':before'] or 0)
  redis.call('HSET', REMAINING, id .. ':before', attempts)
  redis.call('HDEL', REMAINING, id .. ':attempt', id .. ':progress', id .. ':sent')
  for _, key in ipairs({STATES, RECORDS, OUTPUTS}) do redis.call('HDEL', key, id) end
  tell(id, 'waiting', '')
end

local function forget_items(operation, ids)
  for _, id in ipairs(ids) do
    redis.call('HDEL', REMAINING, id .. ':attempt', id .. ':before', id .. ':progress', id .. ':sent')
    for _, key in ipairs({ITEMS, STATES, RECORDS, OUTPUTS}) do redis.call('HDEL', key, id) end
  end
  redis.call('HDEL', ITEMS, operation)
  redis.call('HDEL', REMAINING, operation, operation .. ':failed', operation .. ':unknown', operation .. ':cancelled')
end

local function take_up_items(operation, found)
  redis.call('HSET', REMAINING, operation, #found.todo + found.missing)
  for _, outcome in ipairs({'failed', 'unknown', 'cancelled'}) do
    redis.call('HDEL', REMAINING, operation .. ':' .. outcome)
    if found.kept[outcome] then redis.call('HSET', REMAINING, operation .. ':' .. outcome, found.kept[outcome]) end
  end
  redis.call('HDEL', RECORDS, operation)
  if found.missing > 0 then
    begin_anew(operation)
    make_ready(operation)
  else
    redis.call('HSET', STATES, operation, 'running')
    tell(operation, 'running', items[operation])
  end
  for _, id in ipairs(found.todo) do
    begin_anew(id)
    make_ready(id)
  end
end

for _, id in ipairs(accepted) do
  local record = cjson.decode(redis.call('HGET', RECORDS, id) or '{}')
  record.error = cjson.null
  local text = cjson.encode(record)
  if record.attempts then redis.call('HSET', RECORDS, id, text) end
  redis.call('HSET', STATES, id, 'succeeded')
  tell(id, 'succeeded', record.attempts and text or '')
end

for _, operation in ipairs(order) do
  if blocked[operation] then
    if states[operation] ~= 'skipped' then
      redis.call('HSET', STATES, operation, 'skipped')
      tell(operation, 'skipped', '')
    end
  elseif expanded[operation] then
    take_up_items(operation, expanded[operation])
  elseif todo[operation] then
    if emptied[operation] then forget_items(operation, emptied[operation]) end
    begin_anew(operation)
    local count = waits[operation] or 0
    if count > 0 then gather('HSET', operation, count) else make_ready(operation) end
  end
end
for command in pairs({HDEL = true, HSET = true}) do write_gathered(command, 1) end
close_run_if_done(open)
return resumed(ready)
