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

-- A place is "priority|rank|seq|deliveries|token"; the token is '' while nobody holds the message. One that was woken
-- while it was held has "|woken" behind that.
local function parse_place(text)
  if not text then return nil end
  local priority, rank, seq, deliveries, token, woken =
    string.match(text, '^(%d)|([^|]*)|(%x+)|(%d+)|([^|]*)(.*)$')
  return {priority = tonumber(priority), rank = rank, seq = seq,
          deliveries = tonumber(deliveries), token = token, woken = woken ~= ''}
end

local function read_place(id)
  return parse_place(redis.call('HGET', PLACES, id))
end

local function place_text(place)
  return place.priority .. '|' .. place.rank .. '|' .. place.seq .. '|' .. place.deliveries .. '|' .. place.token
    .. (place.woken and '|woken' or '')
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

local function enqueue(id, place)
  redis.call('ZADD', WAITING[place.priority], waiting_entry(id, place))
end

-- Of which priorities messages wait.
local function what_waits()
  local found = {}
  for priority = 0, 3 do found[priority] = redis.call('EXISTS', WAITING[priority]) == 1 end
  return found
end

-- Ring when something waits of a priority of which nothing did before, and say of which, the most urgent one: a consumer
-- may be at the less urgent of other queues, or not serve the more urgent that wait here.
local function ring(before)
  local now = what_waits()
  for priority = 0, 3 do
    if now[priority] and not before[priority] then
      redis.call('SPUBLISH', BELL, priority)
      return
    end
  end
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
