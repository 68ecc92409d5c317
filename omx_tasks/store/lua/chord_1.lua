-- Count a finished part of a chord, each part once, however often it is told.
-- KEYS: the chord's hash (run; size; parts: how many returned; 'part:ID' → its number, from 1; 'index:ID' → its place;
--   more: how many were added, 'added:N' → the N-th; over once the chord's body was published).
-- ARGV: part, its place in the header.
-- Returns the part's number (0 when the chord is over) and the chord's size (0 while it is not known); with the last
-- part also what was added, and all parts with their places. Run twice: the same.
local chord = KEYS[1]
if redis.call('HEXISTS', chord, 'over') == 1 then
  redis.call('HSET', chord, 'over', 1)  -- a write, so that it can be confirmed again; below, too
  return {0, 0, {}, {}}
end
local number = redis.call('HGET', chord, 'part:' .. ARGV[1])
if not number then
  number = redis.call('HINCRBY', chord, 'parts', 1)
  redis.call('HSET', chord, 'index:' .. ARGV[1], ARGV[2])
end
redis.call('HSET', chord, 'part:' .. ARGV[1], number)
number = tonumber(number)
local size = tonumber(redis.call('HGET', chord, 'size') or 0)
local more = tonumber(redis.call('HGET', chord, 'more') or 0)
if size == 0 or number ~= size + more then return {number, size > 0 and size + more or 0, {}, {}} end
local added, parts, all = {}, {}, redis.call('HGETALL', chord)
for position = 1, more do
  table.insert(added, redis.call('HGET', chord, 'added:' .. position))
end
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 6) == 'index:' then
    table.insert(parts, string.sub(all[i], 7))
    table.insert(parts, all[i + 1])
  end
end
return {number, size + more, added, parts}
