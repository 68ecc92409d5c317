-- Store a part of a large graph before its run is submitted, so that no one script holds the server up for long.
-- KEYS: the run's. ARGV: seconds after which a run that was never submitted is gone, then operation, waits,
-- successors (JSON) for each.
-- Returns 1, or 0 when the run was submitted already. Run twice: the same.
--@include run_keys
if redis.call('EXISTS', RUN) == 1 then
  write_again()
  return 0
end
write_links(2)
for _, key in ipairs({WAITS, SUCCESSORS}) do redis.call('EXPIRE', key, ARGV[1]) end
return 1
