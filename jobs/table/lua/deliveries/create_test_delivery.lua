#!lua
-- Create a delivery without a job, for an event that tests a receiver.
-- delivery:{delivery}   created unless it exists; expires
-- deliveries:due        + delivery
--
-- ARGV: delivery, event type, retention in ms
-- Returns: ok
local key = keys.delivery(ARGV[1])
if redis.call('EXISTS', key) == 1 then return {'ok'} end
redis.call('HSET', key, 'job', '', 'event', ARGV[2], 'state', 'pending', 'attempts', 0, 'created_ms', integer(now))
redis.call('PEXPIRE', key, ARGV[3])
redis.call('ZADD', keys.deliveries_due, now, ARGV[1])
return {'ok'}
