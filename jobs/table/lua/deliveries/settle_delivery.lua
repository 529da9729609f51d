#!lua flags=allow-oom
-- Record one attempt of a delivery, and schedule the next one or settle the delivery.
-- delivery:{delivery}             state, attempts; expires once it is settled, deleted if its job's record is gone
-- delivery:{delivery}:attempts    + the attempt as JSON; the newest MAX_LOGGED are kept
-- deliveries:due:{tenant}         the next attempt, or - delivery
-- deliveries:open                 - delivery once it is settled
--
-- ARGV: delivery, claim, state (delivered | pending | abandoned), the attempt as JSON,
--       milliseconds until the next attempt, retention in ms
-- Returns: ok | lost (another keeper has claimed the delivery meanwhile) | unknown
local MAX_LOGGED = 50 -- a schedule has ten attempts, and each redelivery starts another one
local delivery, claim, state, retention = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[6])
local key, attempts = keys.delivery(delivery), keys.delivery_attempts(delivery)
local owner = redis.call('HGET', key, 'claim')
if not owner then
  return {redis.call('EXISTS', key) == 1 and 'lost' or 'unknown'}
end
if owner ~= claim then return {'lost'} end

local tenant = redis.call('HGET', key, 'tenant')
redis.call('HSET', key, 'state', state)
redis.call('HINCRBY', key, 'attempts', 1)
redis.call('HDEL', key, 'claim')
redis.call('RPUSH', attempts, ARGV[4])
redis.call('LTRIM', attempts, -MAX_LOGGED, -1)
redis.call('PEXPIRE', attempts, retention)
if state == 'pending' then
  schedule_delivery(delivery, tenant, now + tonumber(ARGV[5]))
else
  unschedule_delivery(delivery, tenant)
  redis.call('ZREM', keys.deliveries_open, delivery)
  local id = redis.call('HGET', key, 'job')
  if id == '' or redis.call('EXISTS', keys.job(id)) == 1 then
    redis.call('PEXPIRE', key, retention)
  else
    redis.call('DEL', key, attempts)
  end
end
return {'ok'}
