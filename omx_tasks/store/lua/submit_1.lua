-- Store a run: its plan once, one counter an operation, and the ready ones in the outbox.
-- KEYS: the run's. ARGV: name, plan, number of operations, seconds to keep it after its end, number of roots,
-- the roots, then operation, waits, successors (JSON) for each.
-- Returns what is ready and not begun. Run twice: the second changes nothing.
--@include run_keys
if redis.call('EXISTS', RUN) == 0 then
  local total, roots = tonumber(ARGV[3]), tonumber(ARGV[5])
  local created = seconds()
  redis.call('HSET', RUN, 'name', ARGV[1], 'state', 'running', 'created', string.format('%.6f', created),
    'finished', '', 'total', total, 'open', total, 'failed', 0, 'keep', ARGV[4])
  redis.call('SET', PLAN, ARGV[2])
  for i = 6, 5 + roots do redis.call('ZADD', OUTBOX, created * 1000 + i / 1000, ARGV[i]) end  -- in their order
  for i = 6 + roots, #ARGV, 3 do
    if ARGV[i + 1] ~= '0' then redis.call('HSET', WAITS, ARGV[i], ARGV[i + 1]) end
    if ARGV[i + 2] ~= '[]' then redis.call('HSET', SUCCESSORS, ARGV[i], ARGV[i + 2]) end
  end
  tell('', 'running', '')
end
return still_waiting(redis.call('ZRANGE', OUTBOX, 0, -1))
