#!lua flags=allow-oom
-- Release a claimed delivery without an attempt: its receiver has too many requests open, or its keeper stops.
-- delivery:{delivery}    - claim
-- deliveries:due         its next attempt
--
-- ARGV: delivery, claim, milliseconds until the next attempt
-- Returns: ok | lost (another keeper has claimed it)
local key = keys.delivery(ARGV[1])
if redis.call('HGET', key, 'claim') ~= ARGV[2] then return {'lost'} end
redis.call('HDEL', key, 'claim')
redis.call('ZADD', keys.deliveries_due, now + tonumber(ARGV[3]), ARGV[1])
return {'ok'}
