-- The keys of a group of handlers in a partition, in the order of keys.event_group_keys().
--
-- The log has an order, and a group's cursor moves along it. What a handler failed on leaves it for the group's retry
-- line, so that the cursor can go on, and with it what follows of the same priority and key: it waits behind.
-- A line is 'priority|key' ('priority|NUL number' for an event without a key: nothing waits behind it).
--@include event_keys
local GROUP, WAITING, ORDER, DUE, DEAD = KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14]
local CONSUMERS = KEYS[15]

local function line_of(priority, key, number)
  return priority .. '|' .. (key ~= '' and key or ('\0' .. number))
end

local function member_of(line, number)
  return line .. '\0' .. string.format('%016.0f', number)
end

local function line_of_member(member)
  return string.sub(member, 1, -18)
end

-- The first members of a line.
local function first_of(line, count)
  return redis.call('ZRANGEBYLEX', ORDER, '[' .. line .. '\0', '(' .. line .. '\1', 'LIMIT', 0, count)
end

local function group_number(field)
  return tonumber(redis.call('HGET', GROUP, field) or '0')
end

local function cursor_of(priority, group)
  return tonumber(redis.call('HGET', CURSORS, priority .. ':' .. group))
end

local function fields_of(entry)
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  return fields
end

-- `member` is where it goes in the retry line when it is put back.
local function park(member, body, error, deliveries)
  redis.call('XADD', DEAD, 'MAXLEN', '~', 100000, '*', 'e', body, 'error', error, 'deliveries', whole(deliveries),
    'member', member)
  redis.call('HINCRBY', GROUP, 'dead', 1)
end
