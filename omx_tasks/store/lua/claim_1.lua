-- Take up to N messages and their leases: P0 first, then the longest remaining path, then first in.
-- Before that, delayed messages that are due and messages whose lease has ended go back to their places; one that
-- was delivered, or lost, too often goes to the dead ones. Of the suspects (see queue_keys) one is taken, before the
-- others of its priority, where the claimer may have one.
-- So that P3 is not starved for ever: while its first message has waited longer than the aging time, one of every
-- SHARE messages that the queue gives is P3's.
-- KEYS: the queue's, then the receipt of this claim. ARGV: token, N (more than 1000 are 1000), lease (ms), most deliveries
-- (0: no limit), aging time (ms, 0: none), the least urgent priority that is wanted (P3's share by age apart), the
-- priorities that are served at all, as digits, most losses (0: no limit), and 1 if a suspect may be among them.
-- Returns {left waiting of P0, P1, P2, P3, ms until a delayed message or an ended lease may be claimed (-1: none),
-- partitions, 1 if suspects of these priorities are left, the suspect that is among them or '', id, deliveries, body, id,
-- deliveries, body, …}.
-- Run twice with one token: the same messages (those still held), by the receipt.
--@include queue_keys
--@include sweep
local RECEIPT = KEYS[13]
local token, wanted, lease, most = ARGV[1], math.min(tonumber(ARGV[2]), 1000), tonumber(ARGV[3]), tonumber(ARGV[4])
local aging, least, served = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local most_losses, may_have_suspect = tonumber(ARGV[8]), ARGV[9] == '1'
local SHARE = 8
local now = now_ms()
local answer = {0, 0, 0, 0, -1, 1, 0, ''}

local function serves(priority)
  return string.find(served, priority, 1, true) ~= nil
end

local function next_due()
  local first = nil
  for _, key in ipairs({DELAYED, LEASES}) do
    local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    local due = tonumber(head[2] or LINE)
    if due < (first or LINE) then first = due end
  end
  return first and math.max(0, first - now) or -1
end

local function suspects_left()
  local last = redis.call('ZREVRANGE', DELAYED, 0, 0, 'WITHSCORES')
  if tonumber(last[2] or 0) < LINE then return 0 end
  for priority = 0, 3 do
    if serves(priority) and suspects(priority, 1)[1] then return 1 end
  end
  return 0
end

local function tell_what_is_left()
  for priority = 0, 3 do answer[priority + 1] = redis.call('ZCARD', WAITING[priority]) end
  answer[5], answer[6], answer[7] = next_due(), partitions(), suspects_left()
end

local function give(ids, deliveries)
  for i, body in ipairs(redis.call('HMGET', MESSAGES, unpack(ids))) do
    answer[#answer + 1] = ids[i]
    answer[#answer + 1] = deliveries[i]
    answer[#answer + 1] = body
  end
end

local receipt = redis.call('GET', RECEIPT)
if receipt then
  local ids, deliveries = {}, {}
  for _, id in ipairs(cjson.decode(receipt)) do
    local place = read_place(id)
    if place and place.token == token then
      ids[#ids + 1] = id
      deliveries[#deliveries + 1] = place.deliveries
      if is_suspect(place) then answer[8] = id end
    end
  end
  if #ids > 0 then give(ids, deliveries) end
  tell_what_is_left()
  return answer
end

local back = sweep_delayed(now) + sweep_leases(now, most, most_losses)

local ids = {}

local function take_suspect(priority)
  local id = may_have_suspect and suspects(priority, 1)[1]
  if not id then return 0 end
  redis.call('ZREM', DELAYED, id)
  ids[#ids + 1] = id
  may_have_suspect = false
  return 1
end

local function take(priority, count)
  if count <= 0 or not serves(priority) then return end
  count = count - take_suspect(priority)
  if count == 0 then return end
  local popped = redis.call('ZPOPMIN', WAITING[priority], count)
  for i = 1, #popped, 2 do ids[#ids + 1] = string.sub(popped[i], 17) end
end

-- Lease all that was taken with a handful of commands; what was delivered too often already is dead.
local function lease_and_give()
  local given, deliveries, texts, leases, dead = {}, {}, {}, {}, {}
  for i, text in ipairs(redis.call('HMGET', PLACES, unpack(ids))) do
    local place = parse_place(text)
    if place and most > 0 and place.deliveries >= most then
      add(dead, now, ids[i])
    elseif place then
      place.token, place.woken = token, false
      place.deliveries = place.deliveries + 1
      given[#given + 1] = ids[i]
      deliveries[#deliveries + 1] = place.deliveries
      if is_suspect(place) then answer[8] = ids[i] end
      add(texts, ids[i], place_text(place))
      add(leases, now + lease, ids[i])
    end
  end
  ids = given
  if #dead > 0 then redis.call('ZADD', DEAD, unpack(dead)) end
  if #given == 0 then return end
  redis.call('HSET', PLACES, unpack(texts))
  redis.call('ZADD', LEASES, unpack(leases))
  give(given, deliveries)
end

-- How many of the messages that are given now are P3's by right; the fractions of former claims count.
local function aged()
  if aging == 0 or not serves(3) then return 0 end
  local first = redis.call('ZRANGE', WAITING[3], 0, 0)[1]
  if not first or tonumber(string.sub(first, 1, 16), 16) / 1000 > now - aging then return 0 end
  local turn = tonumber(redis.call('HGET', META, 'turn') or '0') + wanted
  redis.call('HSET', META, 'turn', turn % SHARE)
  return math.floor(turn / SHARE)
end

local reserved = aged()
for priority = 0, math.min(2, least) do take(priority, wanted - reserved - #ids) end
take(3, least == 3 and wanted - #ids or math.min(reserved, wanted - #ids))

if #ids > 0 then lease_and_give() end
tell_what_is_left()
if #ids > 0 then redis.call('SET', RECEIPT, cjson.encode(ids), 'PX', lease) end
-- What is left is for others, and what came back just now may be for them alone.
if #ids + back > 0 then ring({}) end
touch()
return answer
