#!lua flags=allow-oom
-- Forget ended jobs whose record has expired: their places in lists, and their rows.
-- expiries                                              tenants by the next expiry
-- ended:{tenant} · jobs:{tenant} · label:{tenant}:{hash} · unarchived   - id
-- job:{id} · labels:{id} · stream:{id} · job_deliveries:{id} · delivery:{delivery} · delivery:{delivery}:attempts
--                                                       deleted; while a delivery is not settled, it stays
--
-- ARGV: the largest number of tenants, and of jobs of each
-- Returns: ok
for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', keys.expiries, '-inf', now, 'LIMIT', 0, ARGV[1])) do
  trim_ended(tenant, math.huge, tonumber(ARGV[2]))
  local first = redis.call('ZRANGE', keys.ended(tenant), 0, 0, 'WITHSCORES')
  if first[2] then
    redis.call('ZADD', keys.expiries, first[2], tenant)
  else
    redis.call('ZREM', keys.expiries, tenant)
  end
end
return {'ok'}
