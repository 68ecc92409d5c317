-- Store a batch of events at the ends of their logs, and let go of what is old.
-- A log keeps its last HISTORY events, and everything that a group has not handled. Where that is more than LIMIT events,
-- groups that have not claimed for PATIENCE ms are passed over (counted as dropped for them); if it is still more,
-- nothing is stored and the producer must wait.
-- KEYS: the partition's, then the producer's. ARGV: number of the batch, HISTORY, LIMIT, PATIENCE, how long the producer
-- is remembered (ms), how many of the events have an unknown type, then per event: priority, type, key, event (JSON).
-- Returns 'stored', 'known' (this batch or a later one of this producer is stored), or 'full'.
-- Run twice: the second run finds the batch known; it writes the producer's number as it is, so that it can be confirmed.
--@include event_keys
local PRODUCER = KEYS[10]
local number, history, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local patience, remembered, unknown = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])

local stored = tonumber(redis.call('GET', PRODUCER) or '0')
if number <= stored then
  redis.call('SET', PRODUCER, whole(stored), 'PX', remembered)
  redis.call('HINCRBY', META, 'repeated', 1)
  return 'known'
end

local counts = {[0] = 0, 0, 0, 0}
for i = 7, #ARGV, 4 do
  local priority = tonumber(ARGV[i])
  counts[priority] = counts[priority] + 1
end

-- Cut a log to its history, but not beyond what `bound` says is still wanted; returns how long it is then.
local function cut(priority, last, bound)
  local first = meta_number('first:' .. priority)
  local target = math.min(last - history + 1, bound)
  if target > first then
    redis.call('XTRIM', LOGS[priority], 'MINID', whole(target) .. '-0')
    redis.call('HSET', META, 'first:' .. priority, whole(target))
    first = target
  end
  return last - first + 1
end

-- The first number that some group has not handled. With `passing_over`, groups that were not seen for long do not
-- count; they go on at what is left.
local function first_wanted(priority, last, passing_over)
  local cursors, wanted, late = redis.call('HGETALL', CURSORS), last + 1, {}
  local now = now_ms()
  for i = 1, #cursors, 2 do
    if string.sub(cursors[i], 1, 2) == priority .. ':' then
      local group, cursor = string.sub(cursors[i], 3), tonumber(cursors[i + 1])
      local seen = tonumber(redis.call('HGET', SEEN, group) or '0')
      if passing_over and seen < now - patience then
        late[#late + 1] = {field = cursors[i], group = group, cursor = cursor}
      else
        wanted = math.min(wanted, cursor + 1)
      end
    end
  end
  local start = math.min(last - history + 1, wanted)
  for _, one in ipairs(late) do
    if one.cursor + 1 < start then
      redis.call('HINCRBY', DROPPED, one.group, whole(start - 1 - one.cursor))
      redis.call('HSET', CURSORS, one.field, whole(start - 1))
    end
  end
  return wanted
end

for priority = 0, 3 do
  local last = meta_number('last:' .. priority)
  local length = last - meta_number('first:' .. priority) + 1
  -- A tenth more than the history may gather, so that not each batch cuts.
  if counts[priority] > 0 and last > 0 and length > history + history / 10 then
    length = cut(priority, last, first_wanted(priority, last, false))
    if length > limit then length = cut(priority, last, first_wanted(priority, last, true)) end
    if length > limit then
      redis.call('HINCRBY', META, 'refused', 1)
      return 'full'
    end
  end
end

local next_number = {}
for priority = 0, 3 do
  if counts[priority] > 0 then
    local last = redis.call('HINCRBY', META, 'last:' .. priority, counts[priority])
    next_number[priority] = last - counts[priority] + 1
    if next_number[priority] == 1 then redis.call('HSET', META, 'first:' .. priority, 1) end
  end
end
for i = 7, #ARGV, 4 do
  local priority = tonumber(ARGV[i])
  redis.call('XADD', LOGS[priority], whole(next_number[priority]) .. '-0',
    't', ARGV[i + 1], 'k', ARGV[i + 2], 'e', ARGV[i + 3])
  next_number[priority] = next_number[priority] + 1
end
redis.call('SET', PRODUCER, whole(number), 'PX', remembered)
redis.call('HINCRBY', META, 'published', counts[0] + counts[1] + counts[2] + counts[3])
if unknown > 0 then redis.call('HINCRBY', META, 'unknown', unknown) end
redis.call('SPUBLISH', BELL, table.concat({counts[0], counts[1], counts[2], counts[3]}, ' '))
return 'stored'
