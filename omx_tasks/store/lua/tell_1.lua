-- Store a task's result and tell who waits for it.
-- KEYS: result, channel. ARGV: value, expires (s, 0 for never), 1 to keep a success that is stored already, what
-- compressed values begin with: only successes are compressed.
-- Returns 1 if it was stored. Run twice: the same value is stored and told again.
local function is_success(text)
  if text:sub(1, #ARGV[4]) == ARGV[4] then return true end
  local readable, meta = pcall(cjson.decode, text)
  return readable and type(meta) == 'table' and meta.status == 'SUCCESS'
end

if ARGV[3] == '1' then
  local stored = redis.call('GET', KEYS[1])
  if stored and is_success(stored) then
    redis.call('SET', KEYS[1], stored, 'KEEPTTL')  -- so that its storing can be confirmed again
    return 0
  end
end
if tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1])
end
-- A message that nobody here hears would still go to every node of the shard.
if redis.call('PUBSUB', 'SHARDNUMSUB', KEYS[2])[2] > 0 then
  redis.call('SPUBLISH', KEYS[2], ARGV[1])
end
return 1
