-- Tell how a group of handlers stands in a partition.
-- KEYS: the partition's and the group's. ARGV: group.
-- Returns {time (ms), owner ('' : nobody has the partition now), when it told last what it handled (ms, 0: never), events
-- that wait to be tried again, dead ones, dropped ones, how often one failed, {per priority: -1 where the group does not
-- handle it, else events that it has not been through yet, then the first of them ('' : none)}}.
-- Run twice: the same.
--@include event_group_keys
local group, now = ARGV[1], now_ms()
local owner = group_number('until') > now and redis.call('HGET', GROUP, 'owner') or ''

local behind = {}
for priority = 0, 3 do
  local cursor = cursor_of(priority, group)
  local count, first = -1, ''
  if cursor then
    count = math.max(0, meta_number('last:' .. priority) - cursor)
    local entry = count > 0 and redis.call('XRANGE', LOGS[priority], whole(cursor + 1) .. '-0', '+', 'COUNT', 1)[1]
    if entry then first = fields_of(entry).e end
  end
  behind[#behind + 1], behind[#behind + 2] = whole(count), first
end

return {now, owner, group_number('told'), redis.call('HLEN', WAITING), redis.call('XLEN', DEAD),
  tonumber(redis.call('HGET', DROPPED, group) or '0'), group_number('failed') + group_number('dead'),
  behind}
