#!lua flags=allow-oom
-- Give a taken row back without an attempt: its receiver has no room, or its keeper leaves.
-- delivery:{e}      - claim
-- deliveries:due    its next time
--
-- ARGV: delivery, claim, milliseconds until then
-- Replies: ok | lost (another keeper has the row)
local key = 'delivery:' .. ARGV[1]
if redis.call('HGET', key, 'claim') ~= ARGV[2] then return {'lost'} end
redis.call('HDEL', key, 'claim')
redis.call('ZADD', 'deliveries:due', now + tonumber(ARGV[3]), ARGV[1])
return {'ok'}
