-- Store a run: its plan once, one counter an operation, and the ready ones in the outbox.
-- KEYS: the run's. ARGV: name, plan, number of operations, seconds to keep it after its end, seconds after which it
-- is cancelled (0: never), number of roots, the roots, then operation, waits, successors (JSON) for each that was not prepared.
-- Returns what is ready and not begun. Run twice: the second changes nothing.
--@include run_keys
if redis.call('EXISTS', RUN) == 1 then
  write_again()
  return still_waiting(redis.call('ZRANGE', OUTBOX, 0, -1))
end
local total, timeout, roots = tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])
local created, ready = seconds(), {}
redis.call('HSET', RUN, 'name', ARGV[1], 'state', 'running', 'created', string.format('%.6f', created),
  'finished', '', 'total', total, 'open', total, 'failed', 0, 'keep', ARGV[4])
if timeout > 0 then set_deadline(timeout) end
redis.call('SET', PLAN, ARGV[2])
for i = 1, roots do
  ready[i] = ARGV[6 + i]
  redis.call('ZADD', OUTBOX, created * 1000 + i / 1000, ready[i])  -- in their order
end
write_links(7 + roots)
for _, key in ipairs({WAITS, SUCCESSORS}) do redis.call('PERSIST', key) end
tell('', 'running', '')
return ready
