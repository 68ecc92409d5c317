-- The turns at one server: its keys, in the order of keys.turn_keys(), and what their scripts share.
--
--   ask ──► waiting ──(who had the turn passes it)──► next ──ask──► holds ──pass──► (gone)
--    └── nobody has the turn ──────────────────────────────────────────┘
--
-- A server has one turn for each resource ('' where it is the whole server). Who asked has a place; its member of the
-- line sorts by resource, then by the run's first arrival there, then within the run by rank (the largest first) and
-- by arrival. A run has arrived for as long as an operation of it waits or has the turn.
local HOLDERS, LINE, PLACES, ARRIVALS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local MOST_RANK = 2 ^ 50

-- Numbers rise and are never behind the server's microseconds. Each is written: a script that takes one can be confirmed.
local function take_number()
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  local number = math.max(now, tonumber(redis.call('HGET', ARRIVALS, '') or '0') + 1)
  redis.call('HSET', ARRIVALS, '', string.format('%.0f', number))
  return number
end

local function read_place(id)
  local text = redis.call('HGET', PLACES, id)
  if not text then return nil end
  local state, resource, queue, since, member =
    string.match(text, '^([^\1]*)\1([^\1]*)\1([^\1]*)\1([^\1]*)\1(.*)$')
  return {state = state, resource = resource, queue = queue, since = tonumber(since), member = member}
end

local function write_place(id, place)
  local since = string.format('%.0f', place.since)
  redis.call('HSET', PLACES, id, table.concat({place.state, place.resource, place.queue, since, place.member}, '\1'))
end

local function run_of(id)
  return string.match(id, '^[^.]*')
end

-- The number of a run's first arrival, as it begins its members of the line.
local function arrival_of(resource, run, number)
  local field = resource .. '\1' .. run
  if redis.call('HSETNX', ARRIVALS, field, string.format('%016x', number)) == 1 then
    return string.format('%016x', number)
  end
  return redis.call('HGET', ARRIVALS, field)
end

local function member_of(resource, arrival, rank, number, id)
  local before = string.format('%016x%016x', MOST_RANK - math.min(rank, MOST_RANK), number)
  return resource .. '\1' .. arrival .. before .. id
end

local function id_of(resource, member)
  return string.sub(member, #resource + 50)
end

local function members(resource, arrival, most)
  local from = '[' .. resource .. '\1' .. (arrival or '')
  local to = arrival and from .. '\255' or '(' .. resource .. '\2'
  return redis.call('ZRANGEBYLEX', LINE, from, to, 'LIMIT', 0, most)
end

-- A run without anybody in the line or at the turn has not arrived any more.
local function forget_arrival(resource, run)
  local field = resource .. '\1' .. run
  local arrival = redis.call('HGET', ARRIVALS, field)
  if not arrival or #members(resource, arrival, 1) > 0 then return end
  local holder = redis.call('HGET', HOLDERS, resource)
  if not holder or run_of(holder) ~= run then redis.call('HDEL', ARRIVALS, field) end
end

-- Whoever is first in the line has the turn now, and is to be told.
local function pass(resource)
  local member = members(resource, nil, 1)[1]
  if not member then
    redis.call('HDEL', HOLDERS, resource)
    return
  end
  local id = id_of(resource, member)
  local place = read_place(id)
  redis.call('ZREM', LINE, member)
  redis.call('HSET', HOLDERS, resource, id)
  place.state, place.since = 'next', take_number()
  write_place(id, place)
end

-- Give up a place, waiting or not.
local function leave(id, place)
  redis.call('HDEL', PLACES, id)
  if redis.call('HGET', HOLDERS, place.resource) == id then
    pass(place.resource)
  else
    redis.call('ZREM', LINE, place.member)
  end
  forget_arrival(place.resource, run_of(id))
end

-- Who has the turn and did not ask since: id and queue, or nothing.
local function to_wake(resource)
  local id = redis.call('HGET', HOLDERS, resource)
  local place = id and read_place(id)
  if place and place.state == 'next' then return {id, place.queue} end
  return {}
end
