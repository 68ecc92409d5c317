-- Store messages and ring the queue's bell if none of their priority waited.
-- KEYS: the queue's. ARGV: per message, of which there are at most 1000: id, priority (0-3), rank (ms), delay (ms), body.
-- Returns {stored, known}: a message whose id is stored, or was acknowledged lately, is known and not stored again.
-- Run twice: the second run finds every id known; it writes a number as it is, so that it can be confirmed, too.
-- However many they are, a handful of commands stores them: some for each one would cost twice as much.
--@include queue_keys
local now = now_ms()
local before = what_waits()

local ids, new, seen = {}, {}, {}
for i = 1, #ARGV, 5 do ids[#ids + 1] = ARGV[i] end
if #ids == 0 then return {0, 0} end
local places, done = redis.call('HMGET', PLACES, unpack(ids)), redis.call('ZMSCORE', DONE, unpack(ids))
for n, id in ipairs(ids) do
  local is_done = done[n] and tonumber(done[n]) > now - REMEMBERED
  if not (places[n] or is_done or seen[id]) then
    new[#new + 1] = 5 * n - 4
    seen[id] = true
  end
end

if #new > 0 then
  local seq = take_numbers(#new)
  local bodies, texts, delayed, waiting = {}, {}, {}, {[0] = {}, {}, {}, {}}
  for n, i in ipairs(new) do
    local id, delay = ARGV[i], tonumber(ARGV[i + 3])
    local place = {priority = tonumber(ARGV[i + 1]), rank = ARGV[i + 2],
                   seq = string.format('%016x', seq + n), deliveries = 0, token = '', lost = 0}
    add(bodies, id, ARGV[i + 4])
    add(texts, id, place_text(place))
    if delay > 0 then
      add(delayed, now + delay, id)
    else
      add(waiting[place.priority], waiting_entry(id, place))
    end
  end
  redis.call('HSET', MESSAGES, unpack(bodies))
  redis.call('HSET', PLACES, unpack(texts))
  if #delayed > 0 then redis.call('ZADD', DELAYED, unpack(delayed)) end
  for priority = 0, 3 do
    if #waiting[priority] > 0 then redis.call('ZADD', WAITING[priority], unpack(waiting[priority])) end
  end
  redis.call('HINCRBY', META, 'published', #new)
  ring(before)
else
  redis.call('HSET', META, 'seq', redis.call('HGET', META, 'seq') or 0)
end
touch()
return {#new, #ids - #new}
