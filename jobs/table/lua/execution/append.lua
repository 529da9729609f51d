#!lua flags=allow-oom
-- Append events to a running job's stream and return whether the worker may continue. Without events it only asks.
-- stream:{id}   + events with explicit ids <seq>-0. Events that it has already are skipped. A gap is refused: Redis was
--               restored without its last second and has lost the events in between
-- job:{id}      tokens
--
-- ARGV: id, claim, tokens generated so far, then seq, type, data of each event
-- Returns: ok | cancel | lost | unknown | gap, seq of the newest event (nothing is written; send the events after it)
local id = ARGV[1]
local refused = refusal(id, ARGV[2])
if refused then return {refused} end

if #ARGV > 3 then
  local last = last_sequence(id)
  if tonumber(ARGV[4]) > last + 1 then return {'gap', last} end
  for index = 4, #ARGV, 3 do
    if tonumber(ARGV[index]) > last then
      redis.call('XADD', keys.stream(id), ARGV[index] .. '-0', 'type', ARGV[index + 1], 'data', ARGV[index + 2])
    end
  end
  redis.call('HSET', keys.job(id), 'tokens', ARGV[3])
end
return {get(id, 'cancel_requested') == '1' and 'cancel' or 'ok'}
