-- The keys of a partition of the events, in the order of keys.event_log_keys(), and what its scripts share.
local META, CURSORS, SEEN, DROPPED, BELL = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local LOGS = {[0] = KEYS[6], [1] = KEYS[7], [2] = KEYS[8], [3] = KEYS[9]}

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Numbers of events are whole and small enough to be exact; this is how they are written.
local function whole(number)
  return string.format('%.0f', number)
end

local function meta_number(field)
  return tonumber(redis.call('HGET', META, field) or '0')
end
