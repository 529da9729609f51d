#!lua flags=allow-oom
-- Step one of an end: from here on neither a cancel nor a claim succeeds.
-- job:{id}                     sealed: the status that it will end with; claim: the sealer
--                              stopped_after_ms: of a cancelled job, from the request to this moment, when its engine has
--                              stopped
-- queue, delayed               - id
-- tenant:{tenant}              service: of the prepare stage, the time since the claim replaces the estimate
-- leases:{stage}               + id: a seal is a lease, too
--
-- ARGV: id, sealer (the worker's claim, or a new claim), status, error code, lease in ms,
--       precondition: owner (the sealer has the job) | unclaimed (no worker has it) | expired (its worker's lease expired)
-- Returns: ok, stopped_after_ms ('' unless it is cancelled) | ended, status | lost | unknown
local id, sealer, status, precondition = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
local present = get(id, 'status')
if present == '' then return {'unknown'} end
if TERMINAL[present] then return {'ended', present} end

local stage, claim, sealed = get(id, 'stage'), get(id, 'claim'), get(id, 'sealed')
if sealed ~= '' and claim == sealer then
  return {'ok', get(id, 'stopped_after_ms')}
elseif precondition == 'owner' then
  if claim == '' or claim ~= sealer or sealed ~= '' then return {'lost'} end
elseif precondition == 'unclaimed' then
  if claim ~= '' then return {'lost'} end
elseif precondition == 'expired' then
  local lease = tonumber(redis.call('ZSCORE', keys.leases(stage), id))
  if not lease or lease > now then return {'lost'} end
end

redis.call('HSET', keys.job(id), 'sealed', status, 'claim', sealer, 'error_code', ARGV[4])
if stage == 'prepare' then settle_charge(id, stage) end
dequeue(id, stage, get(id, 'priority'), get(id, 'tenant'))
redis.call('ZADD', keys.leases(stage), now + tonumber(ARGV[5]), id)
if status ~= 'cancelled' then return {'ok', ''} end
-- When a keeper seals again what a dead worker had sealed, the first value stays: the engine stopped then.
redis.call('HSETNX', keys.job(id), 'stopped_after_ms', integer(since(get(id, 'cancel_requested_ms'))))
return {'ok', get(id, 'stopped_after_ms')}
