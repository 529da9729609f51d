#!lua flags=allow-oom
-- The first of the three steps of an end: from here on neither a cancel nor a claim succeeds.
-- job:{id}                sealed: the status that it is to end with; the sealer owns it
--                         stopped: of a cancelled one, milliseconds from the wish to here, where its engine has stopped
-- queue:{stage}:{priority}    - id
-- leases:{stage}          + id: a seal is a lease, too
--
-- ARGV: id, sealer (the owner's claim, or a claim of its own), status, error code, lease in ms,
--       expect: owner (the sealer has the job) | waiting (nobody has it) | late (its owner's lease ran out)
-- Replies: ok, stopped (empty: it is not cancelled) | ended, status | lost | unknown
local id, sealer, status, expect = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
local present = get(id, 'status')
if present == '' then return {'unknown'} end
if TERMINAL[present] then return {'ended', present} end

local stage, claim, sealed = get(id, 'stage'), get(id, 'claim'), get(id, 'sealed')
if sealed ~= '' and claim == sealer then
  return {'ok', get(id, 'stopped')}
elseif expect == 'owner' then
  if claim ~= sealer or sealed ~= '' then return {'lost'} end
elseif expect == 'unclaimed' then
  if claim ~= '' then return {'lost'} end
elseif expect == 'expired' then
  local lease = tonumber(redis.call('ZSCORE', 'leases:' .. stage, id))
  if not lease or lease > now then return {'lost'} end
end

redis.call('HSET', 'job:' .. id, 'sealed', status, 'claim', sealer, 'error', ARGV[4])
leave_line(id, stage, get(id, 'priority'))
redis.call('ZADD', 'leases:' .. stage, now + tonumber(ARGV[5]), id)
if status ~= 'cancelled' then return {'ok', ''} end
-- A keeper that seals anew what a dead worker had sealed does not stop it anew.
redis.call('HSETNX', 'job:' .. id, 'stopped', whole(since(get(id, 'cancel_at'))))
return {'ok', get(id, 'stopped')}
