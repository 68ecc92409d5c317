-- Store a message that its publisher takes himself, as if it were published and claimed at once.
-- KEYS: the queue's. ARGV: id, priority (0-3), rank (ms), body, token, lease (ms).
-- Returns 1 when the message is the caller's, 0 when its id is known: somebody else has it, or had it.
-- Run twice: 1 both times, for as long as the token holds it.
--@include queue_keys
local id, token = ARGV[1], ARGV[5]
local known = read_place(id)
if known then return known.token == token and 1 or 0 end
if redis.call('ZSCORE', DONE, id) then return 0 end
local place = {priority = tonumber(ARGV[2]), rank = ARGV[3], seq = string.format('%016x', take_numbers(1) + 1),
               deliveries = 1, token = token}
redis.call('HSET', MESSAGES, id, ARGV[4])
write_place(id, place)
redis.call('ZADD', LEASES, now_ms() + tonumber(ARGV[6]), id)
redis.call('HINCRBY', META, 'published', 1)
touch()
return 1
