-- Read a run's plan.
-- KEYS: the run's. ARGV: none. Returns the document, or nil. Run twice: the same.
--@include run_keys
return redis.call('GET', PLAN)
