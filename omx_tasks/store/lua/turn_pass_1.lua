-- Give up a turn, or a place in the line: the first one in the line has the turn now.
-- KEYS: the server's turns. ARGV: resource, message id.
-- Returns {id, queue} of whoever has the turn and does not know it yet, or {}: it is to be woken.
-- Run twice: the second changes nothing and returns the same, until the next one has asked.
--@include turn_keys
take_number()
local place = read_place(ARGV[2])
if place then leave(ARGV[2], place) end
return to_wake(place and place.resource or ARGV[1])
