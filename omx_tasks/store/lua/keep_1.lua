-- Write down what a duty knows, for whoever does it next, unless another coordinator leads by now.
-- KEYS: lease, memory. ARGV: token, duty, what it knows (JSON).
-- Returns 1, or 0 where the token is an old one and nothing was written. Run twice: the same.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'until', redis.call('HGET', KEYS[1], 'until') or '0')
  return 0
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
