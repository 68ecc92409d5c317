-- Bring a queue up to date that perhaps nobody polls: what a claim does before it takes anything, and nothing more.
-- KEYS: the queue's. ARGV: most deliveries, most losses (0: no limit).
-- Returns {returned from ended leases, dead since delivered or lost too often, due after a delay}. An unused queue stays
-- unused.
-- Run twice: the second finds only what became due since.
--@include queue_keys
--@include sweep
local now, before = now_ms(), what_waits()
local due = sweep_delayed(now)
local returned, dead = sweep_leases(now, tonumber(ARGV[1]), tonumber(ARGV[2]))
if due + returned > 0 then ring(before) end
return {returned, dead, due}
