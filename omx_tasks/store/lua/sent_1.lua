-- An agent is about to make a call that must not be made twice: note who, when and what, unless that was noted before.
-- KEYS: the run's. ARGV: operation, the token of this delivery, note (JSON; '': only look whether it was noted).
-- Returns 'go' when the call may be made; 'over' when the run was ended meanwhile; 'gone' when the operation began anew
-- elsewhere, is over, or its beginning was lost with a master; else the note of the call that an earlier delivery made.
-- Run twice with the same token: 'go' again.
--@include run_keys
--@include begin
local operation, token, note = meant(ARGV[1]), ARGV[2], ARGV[3]
if not operation then return 'gone' end
local _, last_token = last_attempt(operation)
if last_token ~= token or is_over(operation) then return 'gone' end
if run_state ~= 'running' then return 'over' end

local field = operation .. ':sent'
local earlier, told = string.match(redis.call('HGET', REMAINING, field) or '', '^(%S+) (.*)$')
if earlier and earlier ~= token then return told end
if note ~= '' then redis.call('HSET', REMAINING, field, token .. ' ' .. note) end  -- again, too, so that it can be confirmed again
return 'go'
