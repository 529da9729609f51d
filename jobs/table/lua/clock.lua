#!lua flags=allow-oom
-- Was the clock set back? What was written down before, for once the later time has come, would wait for it to come
-- again: a dead worker's lease, a delivery that was due at once. A clock that was set forward only makes things due.
-- clock              the latest time that was seen
-- leases:{stage}     at most a lease from now
-- workers            beat now at the latest
-- archive            due now at the latest
-- deliveries:due     earlier, by as much as the clock
--
-- ARGV: lease in ms, a step that does not count in ms
-- Replies: ok | back, milliseconds
local seen = tonumber(redis.call('GET', 'clock')) or now
local back = seen - now
if back <= tonumber(ARGV[2]) then
  if seen <= now then redis.call('SET', 'clock', whole(now)) end
  return {'ok'}
end
redis.call('SET', 'clock', whole(now))

local function cap(key, latest)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. whole(latest), '+inf')) do
    redis.call('ZADD', key, whole(latest), member)
  end
end

cap('leases:prepare', now + tonumber(ARGV[1]))
cap('leases:generate', now + tonumber(ARGV[1]))
cap('workers', now)
cap('archive', now)
local later = redis.call('ZRANGEBYSCORE', 'deliveries:due', '(' .. whole(now), '+inf', 'WITHSCORES')
for index = 1, #later, 2 do
  redis.call('ZADD', 'deliveries:due', whole(tonumber(later[index + 1]) - back), later[index])
end
return {'back', whole(back)}
