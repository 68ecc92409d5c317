-- Remove a queue with everything in it.
-- KEYS: the queue's. ARGV: none. Returns how many keys were there. Run twice: 0.
return redis.call('DEL', unpack(KEYS))
