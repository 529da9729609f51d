#!lua flags=allow-oom
-- Write down one attempt at a delivery, and what follows from it.
-- delivery:{e}             state, attempts; expires once it is settled
-- delivery:{e}:attempts    + the attempt, as JSON
-- deliveries:due           next time, or - e
-- deliveries:open          - e once it is settled
--
-- ARGV: delivery, claim, state: delivered | pending | abandoned, the attempt as JSON,
--       milliseconds until the next try, retention in ms
-- Replies: ok | lost (another keeper took the row in the meantime) | unknown
local delivery, claim, state, retention = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[6])
local key = 'delivery:' .. delivery
local owner = redis.call('HGET', key, 'claim')
if not owner then
  return {redis.call('EXISTS', key) == 1 and 'lost' or 'unknown'}
end
if owner ~= claim then return {'lost'} end

redis.call('HSET', key, 'state', state)
redis.call('HINCRBY', key, 'attempts', 1)
redis.call('HDEL', key, 'claim')
redis.call('RPUSH', key .. ':attempts', ARGV[4])
redis.call('PEXPIRE', key .. ':attempts', retention)
if state == 'pending' then
  redis.call('ZADD', 'deliveries:due', now + tonumber(ARGV[5]), delivery)
else
  redis.call('ZREM', 'deliveries:due', delivery)
  redis.call('ZREM', 'deliveries:open', delivery)
  redis.call('PEXPIRE', key, retention)
end
return {'ok'}
