#!lua
-- A delivery without a job, which tries a receiver.
-- delivery:{e}     created; expires
-- deliveries:due   + e
--
-- ARGV: delivery, event type, retention in ms
local key = 'delivery:' .. ARGV[1]
if redis.call('EXISTS', key) == 1 then return {'ok'} end
redis.call('HSET', key, 'job', '', 'event', ARGV[2], 'state', 'pending', 'attempts', 0, 'created', whole(now))
redis.call('PEXPIRE', key, ARGV[3])
redis.call('ZADD', 'deliveries:due', now, ARGV[1])
return {'ok'}
