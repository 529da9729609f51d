#!lua
-- A client wants a delivery made anew: now, and on the whole schedule. An attempt under way is what it wants already.
-- delivery:{e}             state pending, attempts 0; kept again until it is settled
-- delivery:{e}:attempts    stays: the ledger goes on
-- deliveries:due           + e, now
-- deliveries:open          + e
--
-- ARGV: delivery
-- Replies: ok | unknown
local key = 'delivery:' .. ARGV[1]
if redis.call('EXISTS', key) == 0 then return {'unknown'} end
local due = tonumber(redis.call('ZSCORE', 'deliveries:due', ARGV[1]))
if due and due > now and redis.call('HEXISTS', key, 'claim') == 1 then return {'ok'} end
redis.call('HSET', key, 'state', 'pending', 'attempts', 0)
redis.call('HDEL', key, 'claim')
redis.call('PERSIST', key)
redis.call('PERSIST', key .. ':attempts')
redis.call('ZADD', 'deliveries:due', now, ARGV[1])
redis.call('ZADD', 'deliveries:open', 'NX', now, ARGV[1])
return {'ok'}
