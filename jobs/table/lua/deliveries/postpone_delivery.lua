#!lua flags=allow-oom
-- Release a claimed delivery without an attempt: its receiver has too many requests open, or its keeper stops.
-- delivery:{delivery}        - claim
-- deliveries:due:{tenant}    its next attempt
--
-- ARGV: delivery, claim, milliseconds until the next attempt
-- Returns: ok | lost (another keeper has claimed it)
local key = keys.delivery(ARGV[1])
if redis.call('HGET', key, 'claim') ~= ARGV[2] then return {'lost'} end
redis.call('HDEL', key, 'claim')
schedule_delivery(ARGV[1], redis.call('HGET', key, 'tenant'), now + tonumber(ARGV[3]))
return {'ok'}
