-- Count a finished part of a chord, each part once, however often it is told.
-- KEYS: the chord's hash (run; size; parts: how many returned; 'part:ID' → its number, from 1; more: how many were added,
--   'added:N' → the N-th; over once the chord's body was published). ARGV: part.
-- Returns the part's number (0 when the chord is over), the chord's size (0 while it is not known), and what was added.
-- Run twice: the same.
local chord = KEYS[1]
if redis.call('HEXISTS', chord, 'over') == 1 then return {0, 0} end
local number = redis.call('HGET', chord, 'part:' .. ARGV[1])
if not number then
  number = redis.call('HINCRBY', chord, 'parts', 1)
  redis.call('HSET', chord, 'part:' .. ARGV[1], number)
end
local size = tonumber(redis.call('HGET', chord, 'size') or 0)
local more = tonumber(redis.call('HGET', chord, 'more') or 0)
local answer = {tonumber(number), size > 0 and size + more or 0}
for position = 1, more do
  table.insert(answer, redis.call('HGET', chord, 'added:' .. position))
end
return answer
