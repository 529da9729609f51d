#!lua flags=allow-oom
-- Delete an ended job whose objects are already deleted.
-- job:{id} · stream:{id} · job_deliveries:{id}            deleted
-- delivery:{delivery} · delivery:{delivery}:attempts      deleted; deliveries:due:{tenant}, deliveries:open - delivery
-- jobs:{tenant} · unarchived · removals                   - id (labels forget jobs over time)
--
-- ARGV: id
-- Returns: ok | running (it has not ended: nothing is written)
local id = ARGV[1]
local status = get(id, 'status')
if status ~= '' and not TERMINAL[status] then return {'running'} end
for _, delivery in ipairs(redis.call('LRANGE', keys.job_deliveries(id), 0, -1)) do
  local tenant = redis.call('HGET', keys.delivery(delivery), 'tenant')
  if tenant then unschedule_delivery(delivery, tenant) end
  redis.call('ZREM', keys.deliveries_open, delivery)
  redis.call('DEL', keys.delivery(delivery), keys.delivery_attempts(delivery))
end
redis.call('ZREM', keys.jobs(get(id, 'tenant')), id)
redis.call('ZREM', keys.unarchived, id)
redis.call('ZREM', keys.removals, id)
redis.call('DEL', keys.job(id), keys.stream(id), keys.job_deliveries(id))
return {'ok'}
