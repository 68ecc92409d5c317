-- Count a finished part of a chord, each part once, however often it is told.
-- KEYS: the chord's hash (part → its number, from 1; 'over' once the chord's body was published). ARGV: part.
-- Returns the part's number, 0 when the chord is over. Run twice: the same number.
if redis.call('HEXISTS', KEYS[1], 'over') == 1 then return 0 end
local number = redis.call('HGET', KEYS[1], ARGV[1])
if not number then
  number = redis.call('HLEN', KEYS[1]) + 1
  redis.call('HSET', KEYS[1], ARGV[1], number)
end
return tonumber(number)
