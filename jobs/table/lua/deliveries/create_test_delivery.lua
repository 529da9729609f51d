#!lua
-- Create a delivery without a job, for an event that tests a receiver.
-- delivery:{delivery}        created unless it exists; expires
-- deliveries:due:{tenant}    + delivery
--
-- ARGV: delivery, event type, retention in ms, tenant, deliveries of the tenant that may wait
-- Returns: ok | too_many, deliveries that wait
local key = keys.delivery(ARGV[1])
if redis.call('EXISTS', key) == 1 then return {'ok'} end
local waiting = count_deliveries(ARGV[4])
if waiting >= tonumber(ARGV[5]) then return {'too_many', integer(waiting)} end
redis.call('HSET', key,
  'job', '', 'tenant', ARGV[4], 'event', ARGV[2], 'state', 'pending', 'attempts', 0, 'created_ms', integer(now))
redis.call('PEXPIRE', key, ARGV[3])
schedule_delivery(ARGV[1], ARGV[4], now)
return {'ok'}
