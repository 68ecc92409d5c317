-- Say what became of events: move the cursor over what is handled, have tried again what failed, park what failed too often.
-- KEYS: the partition's and the group's. ARGV: group, consumer, 1 to give the partition back (its bell says so), then words:
--   'to' priority number: all events up to this number are handled, but those that follow of this priority:
--   'failed' priority number delay (ms) deliveries; 'dead' priority number error deliveries;
--   'behind' priority number: its line is being tried again, it waits there
--   'done' member; 'again' member delay deliveries; 'parked' member error: what became of one that was tried again
-- Returns 'done', or 'fenced' where another consumer has the partition: nothing is changed then, but that this one
-- is there no more if it gives back.
-- Run twice: the second run finds the cursor moved and the members gone; it changes nothing.
--@include event_group_keys
local group, consumer, gives_back = ARGV[1], ARGV[2], ARGV[3] == '1'
if gives_back then redis.call('ZREM', CONSUMERS, consumer) end
if redis.call('HGET', GROUP, 'owner') ~= consumer then
  redis.call('HINCRBY', GROUP, 'fenced', 1)
  return 'fenced'
end
local now = now_ms()
redis.call('HINCRBY', GROUP, 'acks', 1)
if ARGV[4] then redis.call('HSET', GROUP, 'told', whole(now)) end

local is_new = {}

local function entry_of(priority, number)
  local entry = redis.call('XRANGE', LOGS[tonumber(priority)], number .. '-0', number .. '-0')[1]
  return entry and fields_of(entry)
end

local function put_in_line(priority, number, deliveries, delay)
  local fields = entry_of(priority, number)
  if not fields then return end
  local line = line_of(priority, fields.k, number)
  local member = member_of(line, tonumber(number))
  redis.call('ZADD', ORDER, 0, member)
  redis.call('HSET', WAITING, member, deliveries .. '|' .. fields.e)
  if delay then
    redis.call('ZADD', DUE, now + delay, line)
  else
    redis.call('ZADD', DUE, 'NX', now, line)
  end
end

local function leave_line(member)
  local line = line_of_member(member)
  redis.call('ZREM', ORDER, member)
  redis.call('HDEL', WAITING, member)
  if #first_of(line, 1) > 0 then
    redis.call('ZADD', DUE, now, line)
  else
    redis.call('ZREM', DUE, line)
  end
end

-- Read an event of the retry line; returns how often it was delivered and its text, or nothing if it is gone.
local function waiting(member)
  local text = redis.call('HGET', WAITING, member)
  if not text then return nil end
  local count, body = string.match(text, '^(%d+)|(.*)$')
  return tonumber(count), body
end

local words = {
  to = {3, function(priority, number)
    local cursor = cursor_of(priority, group)
    is_new[priority] = cursor < tonumber(number)
    if not is_new[priority] then return end
    redis.call('HSET', CURSORS, priority .. ':' .. group, number)
    redis.call('HSET', GROUP, 'tries:' .. priority, 0)
    redis.call('HINCRBY', GROUP, 'passed', whole(tonumber(number) - cursor))
  end},
  failed = {5, function(priority, number, delay, deliveries)
    if not is_new[priority] then return end
    put_in_line(priority, number, deliveries, tonumber(delay))
    redis.call('HINCRBY', GROUP, 'failed', 1)
  end},
  dead = {5, function(priority, number, error, deliveries)
    local fields = is_new[priority] and entry_of(priority, number)
    if not fields then return end
    local member = member_of(line_of(priority, fields.k, number), tonumber(number))
    park(member, fields.e, error, tonumber(deliveries))
  end},
  behind = {3, function(priority, number)
    if is_new[priority] then put_in_line(priority, number, 0, nil) end
  end},
  done = {2, function(member)
    if waiting(member) then leave_line(member) end
  end},
  again = {4, function(member, delay, deliveries)
    local count, body = waiting(member)
    if not count or count >= tonumber(deliveries) then return end
    redis.call('HSET', WAITING, member, deliveries .. '|' .. body)
    redis.call('ZADD', DUE, now + tonumber(delay), line_of_member(member))
    redis.call('HINCRBY', GROUP, 'failed', 1)
  end},
  parked = {3, function(member, error)
    local count, body = waiting(member)
    if not count then return end
    park(member, body, error, count + 1)
    leave_line(member)
  end},
}

local i, tried_again = 4, 0
while i <= #ARGV do
  local word = words[ARGV[i]]
  local size = word[1]
  word[2](ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  if ARGV[i] == 'done' or ARGV[i] == 'again' or ARGV[i] == 'parked' then tried_again = tried_again + 1 end
  i = i + size
end

if tried_again > 0 then
  redis.call('HDEL', GROUP, 'given')
  redis.call('HSET', GROUP, 'careful:again', math.max(0, group_number('careful:again') - tried_again))
end
if gives_back then
  redis.call('HDEL', GROUP, 'owner', 'until', 'given')
  for priority = 0, 3 do redis.call('HDEL', GROUP, 'end:' .. priority) end
  redis.call('SPUBLISH', BELL, '0 0 0 0')
end
return 'done'
