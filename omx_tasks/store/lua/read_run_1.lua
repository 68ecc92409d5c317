-- Read all of a run at one moment.
-- KEYS: the run's. ARGV: none.
-- Returns {run, plan, states, records, outputs, items}, hashes as flat lists, or {} when there is no such run.
-- Run twice: the same.
--@include run_keys
if redis.call('EXISTS', RUN) == 0 then return {} end
return {redis.call('HGETALL', RUN), redis.call('GET', PLAN), redis.call('HGETALL', STATES),
        redis.call('HGETALL', RECORDS), redis.call('HGETALL', OUTPUTS), redis.call('HGETALL', ITEMS)}
