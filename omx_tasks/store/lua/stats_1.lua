-- Read one queue's lengths, ages and counters at one moment.
-- KEYS: the queue's. ARGV: none.
-- Returns {now (ms), oldest of P0, P1, P2, P3 (ms since it was published; -1: none waits),
-- waiting at P0, P1, P2, P3 (with the suspects), leased, delayed, dead, partitions, suspects, counter, value, counter,
-- value, …}.
-- Run twice: the same, a little later.
--@include queue_keys
local now = now_us()

-- Members of one rank stand in the order of their numbers: the first of each rank is its oldest.
-- Ranks, and suspects, beyond the first MOST of a priority are not looked at, so that a look costs little.
local MOST = 1000
local function oldest(priority)
  local key, found, after = WAITING[priority], nil, '-inf'
  for _, id in ipairs(suspects(priority, MOST)) do
    local number = tonumber(read_place(id).seq, 16)
    if not found or number < found then found = number end
  end
  for _ = 1, MOST do
    local head = redis.call('ZRANGEBYSCORE', key, after, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not head[1] then break end
    local number = tonumber(string.sub(head[1], 1, 16), 16)
    if not found or number < found then found = number end
    after = '(' .. head[2]
  end
  return found and math.max(0, math.floor((now - found) / 1000)) or -1
end

local answer = {math.floor(now / 1000)}
for priority = 0, 3 do answer[#answer + 1] = oldest(priority) end
local all_in_line = 0
for priority = 0, 3 do
  local in_line = redis.call('ZCOUNT', DELAYED, line_of(priority))
  answer[#answer + 1] = redis.call('ZCARD', WAITING[priority]) + in_line
  all_in_line = all_in_line + in_line
end
answer[#answer + 1] = redis.call('ZCARD', LEASES)
answer[#answer + 1] = redis.call('ZCARD', DELAYED) - all_in_line
answer[#answer + 1] = redis.call('ZCARD', DEAD)
answer[#answer + 1] = partitions()
answer[#answer + 1] = all_in_line
local fields, none = redis.call('HGETALL', META), {seq = true, expires = true, turn = true, partitions = true}
for i = 1, #fields, 2 do
  if not none[fields[i]] then
    answer[#answer + 1] = fields[i]
    answer[#answer + 1] = fields[i + 1]
  end
end
return answer
