-- See how a run is, for an agent that works on it. A run whose time is over is cancelled.
-- KEYS: the run's. ARGV: none.
-- Returns {state, generation}, the state '' when there is no such run. Run twice: the same.
--@include run_keys
return {state_in_time() or '', GENERATION}
