-- The rows of jobs that were deleted or withdrawn; follows admission.lua in every script.

-- Whether a job was deleted or withdrawn a short time ago. Ids are never used again, so its record must not return.
local function is_removed(id)
  return redis.call('ZSCORE', keys.removed, id) ~= false
end

-- Delete the rows of a job, and refuse its record for max_late ms, within which a late writer may appear.
local function remove_job(id, max_late)
  local status, tenant = get(id, 'status'), get(id, 'tenant')
  if status ~= '' and not TERMINAL[status] then
    local stage = get(id, 'stage')
    settle_charge(id, stage, stage == 'generate' and get_number(id, 'tokens') or nil)
    dequeue(id, stage, get(id, 'priority'), tenant)
    redis.call('ZREM', keys.leases(stage), id)
    redis.call('ZREM', keys.deadlines, id)
    redis.call('HINCRBY', keys.tenant(tenant), 'open_jobs', -1)
    clear_suspect(id)
  end
  for _, delivery in ipairs(redis.call('LRANGE', keys.job_deliveries(id), 0, -1)) do
    local receiver = redis.call('HGET', keys.delivery(delivery), 'tenant')
    if receiver then unschedule_delivery(delivery, receiver) end
    redis.call('ZREM', keys.deliveries_open, delivery)
    redis.call('DEL', keys.delivery(delivery), keys.delivery_attempts(delivery))
  end
  remove_from_lists(id, tenant)
  redis.call('ZREM', keys.ended(tenant), id)
  redis.call('ZREM', keys.unarchived, id)
  redis.call('ZREM', keys.removals, id)
  redis.call('ZADD', keys.removed, integer(now + tonumber(max_late)), id)
  redis.call('DEL', keys.job(id), keys.stream(id), keys.job_deliveries(id))
end
