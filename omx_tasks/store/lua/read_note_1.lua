-- Read what was noted of a call that must not be made twice, before it was made.
-- KEYS: the run's. ARGV: operation. Returns the note (JSON), or nil where there is none. Run twice: the same.
--@include run_keys
local operation = meant(ARGV[1])
return operation and string.match(redis.call('HGET', REMAINING, operation .. ':sent') or '', '^%S+ (.*)$') or nil
