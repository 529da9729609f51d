#!lua
-- Make a delivery due now, and restart its retry schedule. An attempt that is in progress already counts as the new one.
-- delivery:{delivery}             state pending, attempts 0, delayed; kept until it is settled again
-- delivery:{delivery}:attempts    kept: the log of attempts continues
-- job_deliveries:{id}             + delivery, when its row had left Redis with its job's
-- removed                         read
-- deliveries:due:{tenant}         + delivery, now
-- deliveries:open                 + delivery
--
-- ARGV: delivery, deliveries of the tenant that may wait,
--       then of one whose row has left Redis: job, tenant, event, retention in ms, each attempt as JSON
-- Returns: ok | unknown (it has no row, or its job was deleted) | too_many, deliveries that wait
local delivery = ARGV[1]
local key = keys.delivery(delivery)
local receiver = redis.call('HGET', key, 'tenant') or ARGV[4]
if receiver and not redis.call('ZSCORE', keys.tenant_deliveries_due(receiver), delivery) then
  local waiting = count_deliveries(receiver)
  if waiting >= tonumber(ARGV[2]) then return {'too_many', integer(waiting)} end
end
if redis.call('EXISTS', key) == 0 then
  local id = ARGV[3]
  if not id or is_removed(id) then return {'unknown'} end
  redis.call('HSET', key, 'job', id, 'tenant', ARGV[4], 'event', ARGV[5], 'created_ms', integer(now))
  redis.call('DEL', keys.delivery_attempts(delivery))
  if #ARGV > 6 then redis.call('RPUSH', keys.delivery_attempts(delivery), unpack(ARGV, 7)) end
  local is_listed = false
  for _, listed in ipairs(redis.call('LRANGE', keys.job_deliveries(id), 0, -1)) do
    is_listed = is_listed or listed == delivery
  end
  if not is_listed then redis.call('RPUSH', keys.job_deliveries(id), delivery) end
  redis.call('PEXPIRE', keys.job_deliveries(id), ARGV[6])
end
local tenant = redis.call('HGET', key, 'tenant')
local due = tonumber(redis.call('ZSCORE', keys.tenant_deliveries_due(tenant), delivery))
if due and due > now and redis.call('HEXISTS', key, 'claim') == 1 then return {'ok'} end
redis.call('HSET', key, 'state', 'pending', 'attempts', 0, 'delayed', 1)
redis.call('HDEL', key, 'claim')
redis.call('PERSIST', key)
redis.call('PERSIST', keys.delivery_attempts(delivery))
schedule_delivery(delivery, tenant, now)
redis.call('ZADD', keys.deliveries_open, 'NX', now, delivery)
return {'ok'}
