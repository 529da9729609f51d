#!lua flags=allow-oom
-- Write events of a running job, and hear whether to go on. Called without events, it only asks.
-- stream:{id}   + events with explicit ids <seq>-0; those that it has already are passed over. A hole is refused: a store
--               that came back without its last second has lost what stood before them
-- job:{id}      tokens
--
-- ARGV: id, claim, tokens generated so far, then seq, type, data of each event
-- Replies: ok | cancel | lost | unknown | gap, seq of the newest event (nothing written: send those behind it)
local id = ARGV[1]
local refused = refusal(id, ARGV[2])
if refused then return {refused} end

if #ARGV > 3 then
  local last = last_sequence(id)
  if tonumber(ARGV[4]) > last + 1 then return {'gap', last} end
  for index = 4, #ARGV, 3 do
    if tonumber(ARGV[index]) > last then
      redis.call('XADD', 'stream:' .. id, ARGV[index] .. '-0', 'type', ARGV[index + 1], 'data', ARGV[index + 2])
    end
  end
  redis.call('HSET', 'job:' .. id, 'tokens', ARGV[3])
end
return {get(id, 'cancel') == '1' and 'cancel' or 'ok'}
