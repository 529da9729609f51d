#!lua
-- Make a delivery due now, and restart its retry schedule. An attempt that is in progress already counts as the new one.
-- delivery:{delivery}             state pending, attempts 0, delayed; kept until it is settled again
-- delivery:{delivery}:attempts    kept: the log of attempts continues
-- deliveries:due:{tenant}         + delivery, now
-- deliveries:open                 + delivery
--
-- ARGV: delivery
-- Returns: ok | unknown
local delivery = ARGV[1]
local key = keys.delivery(delivery)
if redis.call('EXISTS', key) == 0 then return {'unknown'} end
local tenant = redis.call('HGET', key, 'tenant')
local due = tonumber(redis.call('ZSCORE', keys.tenant_deliveries_due(tenant), delivery))
if due and due > now and redis.call('HEXISTS', key, 'claim') == 1 then return {'ok'} end
redis.call('HSET', key, 'state', 'pending', 'attempts', 0, 'delayed', 1)
redis.call('HDEL', key, 'claim')
redis.call('PERSIST', key)
redis.call('PERSIST', keys.delivery_attempts(delivery))
schedule_delivery(delivery, tenant, now)
redis.call('ZADD', keys.deliveries_open, 'NX', now, delivery)
return {'ok'}
