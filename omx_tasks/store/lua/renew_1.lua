-- Extend leases that are still held.
-- KEYS: the queue's. ARGV: lease (ms), then id, token, id, token, …
-- Returns the ids that are no longer the caller's. Run twice: the same, a little later.
--@include queue_keys
local deadline = now_ms() + tonumber(ARGV[1])
local lost = {}
for i = 2, #ARGV, 2 do
  local place = read_place(ARGV[i])
  if place and place.token == ARGV[i + 1] then
    redis.call('ZADD', LEASES, 'XX', deadline, ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
touch()
return lost
