-- Tell how far a running operation is. In the stream the newest progress of an operation takes the place of the one
-- before: whoever comes late sees how far it is, and however much is told, no change of a state is pushed out.
-- KEYS: the run's. ARGV: operation, progress (JSON).
-- Returns 1 if it was told: 0 when the operation does not run. Run twice: told twice, kept once.
--@include run_keys
local operation = meant(ARGV[1])
if not operation or not is_running(operation) then return 0 end
local earlier = redis.call('HGET', REMAINING, operation .. ':progress')
if earlier then redis.call('XDEL', STREAM, earlier) end
redis.call('HSET', REMAINING, operation .. ':progress', tell(operation, 'progress', ARGV[2]))
return 1
