#!lua flags=allow-oom
-- Release a claimed delivery without an attempt: its receiver has too many requests open, or its keeper stops.
-- delivery:{delivery}        - claim; delayed, when its receiver is the reason
-- deliveries:due:{tenant}    its next attempt
--
-- ARGV: delivery, claim, milliseconds until the next attempt, 1 when its receiver is the reason
-- Returns: ok | lost (another keeper has claimed it)
local key = keys.delivery(ARGV[1])
if redis.call('HGET', key, 'claim') ~= ARGV[2] then return {'lost'} end
redis.call('HDEL', key, 'claim')
if ARGV[4] == '1' then redis.call('HSET', key, 'delayed', 1) end
schedule_delivery(ARGV[1], redis.call('HGET', key, 'tenant'), now + tonumber(ARGV[3]))
return {'ok'}
