-- The keys of a queue, in the order of keys.queue_keys().
local META, MESSAGES, PLACES, LEASES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local DELAYED, DONE, DEAD, BELL = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local WAITING = {[0] = KEYS[9], [1] = KEYS[10], [2] = KEYS[11], [3] = KEYS[12]}

-- Ids of what is done are known for so many ms, longer than a publisher tries again. After that one which is published
-- again is stored: somebody misses it.
local REMEMBERED = 60000

local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function now_ms()
  return math.floor(now_us() / 1000)
end

-- Sequence numbers rise by one at least and are never behind the server's microseconds: a number says when.
-- Returns the one before the first of `count` new ones.
local function take_numbers(count)
  local last = tonumber(redis.call('HGET', META, 'seq') or '0')
  local before = math.max(last, now_us())
  redis.call('HSET', META, 'seq', string.format('%.0f', before + count))
  return before
end

-- A place is "priority|rank|seq|deliveries|token"; the token is '' while nobody holds the message. Behind that stands
-- "|woken" for one that was woken while it was held, then "|lost N" for one of which N leases ended: its holder was gone.
local function parse_place(text)
  if not text then return nil end
  local priority, rank, seq, deliveries, token, more =
    string.match(text, '^(%d)|([^|]*)|(%x+)|(%d+)|([^|]*)(.*)$')
  local place = {priority = tonumber(priority), rank = rank, seq = seq,
                 deliveries = tonumber(deliveries), token = token, woken = false, lost = 0}
  if more ~= '' then
    place.woken = string.find(more, '|woken', 1, true) ~= nil
    place.lost = tonumber(string.match(more, '|lost (%d+)') or '0')
  end
  return place
end

local function read_place(id)
  return parse_place(redis.call('HGET', PLACES, id))
end

local function place_text(place)
  return place.priority .. '|' .. place.rank .. '|' .. place.seq .. '|' .. place.deliveries .. '|' .. place.token
    .. (place.woken and '|woken' or '') .. (place.lost > 0 and '|lost ' .. place.lost or '')
end

local function write_place(id, place)
  redis.call('HSET', PLACES, id, place_text(place))
end

local function add(words, first, second)
  local size = #words
  words[size + 1], words[size + 2] = first, second
end

-- What a message is in the line of those that wait: score and member.
local function waiting_entry(id, place)
  return -tonumber(place.rank), place.seq .. id
end

-- Whoever held a message and is gone was perhaps ended by it, or by one that he held beside it. After TRUSTED such losses
-- it is a suspect, and a consumer gets one suspect at a time: so two of them cannot be lost together again, and each loss
-- from then on is one suspect's alone. Suspects stand in a line of their own: behind all times among the delayed
-- messages, by priority, then the least often lost one first, then the longest in line.
local TRUSTED, LINE = 2, 1e15
local rings_for = nil

-- The part of the line, as two scores, in which the suspects of a priority stand.
local function line_of(priority)
  return string.format('%.0f', (priority + 1) * LINE), string.format('(%.0f', (priority + 2) * LINE)
end

-- The ids of at most `count` suspects of a priority, the first in line first.
local function suspects(priority, count)
  local first, behind = line_of(priority)
  return redis.call('ZRANGEBYSCORE', DELAYED, first, behind, 'LIMIT', 0, count)
end

local function is_suspect(place)
  return place.lost >= TRUSTED
end

local function enqueue(id, place)
  if is_suspect(place) then
    local score = (place.priority + 1) * LINE + math.min(place.lost, 90) * 1e13 + now_ms()
    redis.call('ZADD', DELAYED, string.format('%.0f', score), id)
    rings_for = math.min(rings_for or 3, place.priority)
  else
    redis.call('ZADD', WAITING[place.priority], waiting_entry(id, place))
  end
end

-- Of which priorities messages wait.
local function what_waits()
  local found = {}
  for priority = 0, 3 do found[priority] = redis.call('EXISTS', WAITING[priority]) == 1 end
  return found
end

-- Ring when something waits of a priority of which nothing did before, and say of which, the most urgent one: a consumer
-- may be at the less urgent of other queues, or not serve the more urgent that wait here. A new suspect is rung for, too.
local function ring(before)
  local now = what_waits()
  for priority = 0, 3 do
    if now[priority] and not before[priority] then
      redis.call('SPUBLISH', BELL, priority)
      return
    end
  end
  if rings_for then redis.call('SPUBLISH', BELL, rings_for) end
end

-- In how many partitions the queue is whose first this is.
local function partitions()
  return tonumber(redis.call('HGET', META, 'partitions') or '1')
end

-- An unused queue with an expiry goes as a whole; each use puts its end off.
local function touch()
  local expires = redis.call('HGET', META, 'expires')
  if not expires then return end
  for _, key in ipairs({META, MESSAGES, PLACES, LEASES, DELAYED, DONE, DEAD,
                        WAITING[0], WAITING[1], WAITING[2], WAITING[3]}) do
    redis.call('PEXPIRE', key, expires)
  end
end
