-- Read what a server offers, as an agent saw it.
-- KEYS: catalogue. ARGV: server. Returns JSON, nil where nobody has seen it. Run twice: the same.
return redis.call('HGET', KEYS[1], ARGV[1])
