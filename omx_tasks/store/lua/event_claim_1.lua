-- Be a group's one consumer of a partition, and take its next events: P0 first, what is tried again before what is new.
-- Only one consumer has a partition at a time, which keeps the order of each key; another one takes over when its lease
-- has ended. What the former one had in hand is then given again in small parts; a part that is lost, too, in parts of
-- its own, down to one event. So one that kills its handler's process is found, and parked after so many times, and a
-- full hand that was lost for another reason is soon made up for.
-- KEYS: the partition's and the group's. ARGV: group, consumer, 1 if it wants the partition (0: only if it has it), lease
-- (ms), how many events at most, deliveries after which an event is parked, where a new group begins ('new' or
-- 'oldest'), priorities of new events that are wanted ('0123'), 1 if events to try again are, priorities that this group
-- handles at all, then the patterns of types: 'a.b', 'a.*' or '*'.
-- Returns {'busy', ms until the lease ends, consumers seen} or {'yours', ms until something is to be tried again (-1:
-- nothing), consumers seen, priorities of which more is there, {per priority the number up to which this was looked
-- through, -1: not looked at}, {kind, priority, number or member, deliveries, event, …}}; kind: 'new', 'again', or
-- 'behind': an event whose line is being tried again and which must go there unhandled (it comes without its text).
-- Run twice: the same events, as long as they are not acknowledged.
--@include event_group_keys
local group, consumer, wants, lease = ARGV[1], ARGV[2], ARGV[3] == '1', tonumber(ARGV[4])
local most, deliveries, begins = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local wanted, again, handled = ARGV[8], ARGV[9] == '1', ARGV[10]
-- Events that one claim looks through at most, of each priority, in search of those that match.
local LOOKED_THROUGH = 2000
-- Parts in which what a former owner had in hand is given again.
local PARTS = 30
local now = now_ms()

redis.call('ZADD', CONSUMERS, now, consumer)
redis.call('ZREMRANGEBYSCORE', CONSUMERS, '-inf', now - lease)
local consumers = redis.call('ZCARD', CONSUMERS)
redis.call('HSET', SEEN, group, whole(now))
for priority = 0, 3 do
  if not string.find(handled, priority, 1, true) then redis.call('HDEL', CURSORS, priority .. ':' .. group) end
end
for priority in string.gmatch(handled, '%d') do
  if not cursor_of(priority, group) then
    local last, first = meta_number('last:' .. priority), meta_number('first:' .. priority)
    redis.call('HSET', CURSORS, priority .. ':' .. group, whole(begins == 'new' and last or math.max(0, first - 1)))
  end
end

local owner, until_ = redis.call('HGET', GROUP, 'owner') or '', group_number('until')
if owner ~= consumer then
  if owner ~= '' and until_ > now then return {'busy', until_ - now, consumers} end
  if not wants then return {'busy', 0, consumers} end
  -- What the former owner had in hand counts as a delivery of the first of it, but as the last one only if it was alone.
  for priority in string.gmatch(handled, '%d') do
    local last_given = group_number('end:' .. priority)
    local size = last_given - cursor_of(priority, group)
    if size > 0 then
      local tries = group_number('tries:' .. priority) + 1
      if size > 1 then tries = math.min(tries, deliveries - 1) end
      redis.call('HSET', GROUP, 'tries:' .. priority, tries, 'careful:' .. priority, whole(last_given),
        'part:' .. priority, math.floor(size / PARTS))
    end
  end
  local given = redis.call('HGET', GROUP, 'given')
  if given then
    local members = cjson.decode(given)
    for _, member in ipairs(members) do
      local text = redis.call('HGET', WAITING, member)
      if text then
        local count, body = string.match(text, '^(%d+)|(.*)$')
        redis.call('HSET', WAITING, member, whole(tonumber(count) + 1) .. '|' .. body)
      end
    end
    redis.call('HSET', GROUP, 'careful:again', #members)
    redis.call('HDEL', GROUP, 'given')
  end
  redis.call('HSET', GROUP, 'owner', consumer)
  redis.call('HINCRBY', GROUP, 'taken_over', 1)
end
redis.call('HSET', GROUP, 'until', whole(now + lease))

local exact, prefixes = {}, {}
for i = 11, #ARGV do
  if string.sub(ARGV[i], -1) == '*' then
    prefixes[#prefixes + 1] = string.sub(ARGV[i], 1, -2)
  else
    exact[ARGV[i]] = true
  end
end

local function matches(type_)
  if exact[type_] then return true end
  for _, prefix in ipairs(prefixes) do
    if string.sub(type_, 1, #prefix) == prefix then return true end
  end
  return false
end

local events, left = {}, most

local function give(...)
  for _, value in ipairs({...}) do events[#events + 1] = value end
end

local function give_again()
  local count = group_number('careful:again') > 0 and 1 or most
  local lines = redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, count)
  table.sort(lines)
  local given = {}
  for _, line in ipairs(lines) do
    for _, member in ipairs(first_of(line, count - #given)) do
      local tried, body = string.match(redis.call('HGET', WAITING, member), '^(%d+)|(.*)$')
      give('again', string.sub(line, 1, 1), member, tonumber(tried), body)
      given[#given + 1] = member
    end
    if #given >= count then break end
  end
  if #given > 0 then redis.call('HSET', GROUP, 'given', cjson.encode(given)) end
  left = left - #given
end

local looked_to, more = {-1, -1, -1, -1}, ''

local function move_to(priority, number)
  redis.call('HSET', CURSORS, priority .. ':' .. group, whole(number))
end

-- Park an event that was in the hand of too many consumers that did not live to acknowledge it.
local function pass_poison(priority, cursor)
  local tries = group_number('tries:' .. priority)
  if tries < deliveries then return cursor, tries end
  local entry = redis.call('XRANGE', LOGS[tonumber(priority)], whole(cursor + 1) .. '-0', '+', 'COUNT', 1)[1]
  if entry then
    local number = tonumber(string.match(entry[1], '^%d+'))
    local fields = fields_of(entry)
    local member = member_of(line_of(priority, fields.k, number), number)
    park(member, fields.e, 'no consumer lived to say what became of it', tries)
    cursor = number
    move_to(priority, cursor)
  end
  redis.call('HSET', GROUP, 'tries:' .. priority, 0)
  return cursor, 0
end

local function give_new(priority)
  local cursor, tries = pass_poison(priority, cursor_of(priority, group))
  local last = meta_number('last:' .. priority)
  local room = left
  if group_number('careful:' .. priority) > cursor then
    room = math.min(room, math.max(1, group_number('part:' .. priority)))
  end
  local number, found, looked = cursor, 0, 0
  local lines_there = redis.call('EXISTS', ORDER) == 1
  while found < room and looked < LOOKED_THROUGH and number < last do
    local entries = redis.call('XRANGE', LOGS[tonumber(priority)], '(' .. whole(number) .. '-0', '+', 'COUNT', room)
    if #entries == 0 then
      number = last
      break
    end
    for _, entry in ipairs(entries) do
      if found >= room then break end
      number = tonumber(string.match(entry[1], '^%d+'))
      looked = looked + 1
      local fields = fields_of(entry)
      if matches(fields.t) then
        found = found + 1
        if found == 1 and number > cursor + 1 then move_to(priority, number - 1) end
        local behind = lines_there and fields.k ~= '' and #first_of(line_of(priority, fields.k, number), 1) > 0
        give(behind and 'behind' or 'new', priority, whole(number), found == 1 and tries or 0, behind and '' or fields.e)
      end
    end
  end
  left = left - found
  if found == 0 and number > cursor then
    move_to(priority, number)
  elseif found > 0 then
    redis.call('HSET', GROUP, 'end:' .. priority, whole(number))
  end
  looked_to[tonumber(priority) + 1] = whole(number)
  if number < last then more = more .. priority end
end

if again and most > 0 then give_again() end
for priority in string.gmatch(wanted, '%d') do
  if left > 0 then
    give_new(priority)
  elseif meta_number('last:' .. priority) > cursor_of(priority, group) then
    more = more .. priority
  end
end

local due, head = -1, redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
if head[2] then due = math.max(0, tonumber(head[2]) - now) end
return {'yours', due, consumers, more, looked_to, events}
