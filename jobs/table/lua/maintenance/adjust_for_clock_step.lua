#!lua flags=allow-oom
-- Detect that the clock was set back, and move the times that were recorded before. Otherwise a dead worker's lease, or
-- a delivery that was due, would wait until the clock reaches the recorded time again. A clock that is set forward needs
-- nothing: it only makes things due.
-- clock              the latest time seen
-- leases:{stage}     at most one lease from now
-- workers            last heartbeat: at most now
-- unarchived         due at most now
-- deliveries:due:{tenant}   moved back by as much as the clock
--
-- ARGV: lease in ms, the largest step to ignore in ms
-- Returns: ok | back, milliseconds
local seen = tonumber(redis.call('GET', keys.clock)) or now
local back = seen - now
if back <= tonumber(ARGV[2]) then
  if seen <= now then redis.call('SET', keys.clock, integer(now)) end
  return {'ok'}
end
redis.call('SET', keys.clock, integer(now))

local function cap(key, latest)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. integer(latest), '+inf')) do
    redis.call('ZADD', key, integer(latest), member)
  end
end

for _, stage in ipairs(STAGES) do cap(keys.leases(stage), now + tonumber(ARGV[1])) end
cap(keys.workers, now)
cap(keys.unarchived, now)
for _, tenant in ipairs(redis.call('ZRANGE', keys.deliveries_due, 0, -1)) do
  local queue = keys.tenant_deliveries_due(tenant)
  local later = redis.call('ZRANGEBYSCORE', queue, '(' .. integer(now), '+inf', 'WITHSCORES')
  for index = 1, #later, 2 do
    redis.call('ZADD', queue, integer(tonumber(later[index + 1]) - back), later[index])
  end
  refresh_deliveries_due(tenant)
end
return {'back', integer(back)}
