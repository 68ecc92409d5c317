-- What is due goes back to its place, for the scripts that bring a queue up to date. Needs queue_keys.

-- Messages that were put off until now may be claimed; returns how many.
local function sweep_delayed(now)
  local due = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, 1000)
  for _, id in ipairs(due) do
    redis.call('ZREM', DELAYED, id)
    enqueue(id, read_place(id))
  end
  return #due
end

-- Messages whose lease has ended wait again, or are dead when they were delivered, or lost, too often (0: no limit).
-- Returns how many wait again, and how many are dead.
local function sweep_leases(now, most_deliveries, most_losses)
  local function is_too_often(times, most) return most > 0 and times >= most end
  local returned, dead = 0, 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, 1000)) do
    redis.call('ZREM', LEASES, id)
    local place = read_place(id)
    if place then
      place.token, place.lost = '', place.lost + 1
      write_place(id, place)
      if is_too_often(place.deliveries, most_deliveries) or is_too_often(place.lost, most_losses) then
        redis.call('ZADD', DEAD, now, id)
        dead = dead + 1
      else
        enqueue(id, place)
        redis.call('HINCRBY', META, 'returned', 1)
        returned = returned + 1
      end
    end
  end
  return returned, dead
end
