#!lua flags=allow-oom
-- Claim the deliveries that are due, in turns of one for each tenant. Their due time moves ahead, so that a keeper that
-- dies delays them and loses none. A claim that ended without a release counts as an attempt: what kills keepers ends.
-- deliveries:due             the tenants' next attempts
-- deliveries:due:{tenant}    due time + duration of a claim
-- deliveries:open            - deliveries without a row
-- delivery:{delivery}        claim; attempts + 1 when its last claim was lost; deleted when it is damaged
--
-- ARGV: claim, the largest number to claim, duration of the claim in ms, the largest number for one tenant,
--       then tenant, number of its attempts that the keeper runs already
-- Returns: ok, then delivery, job, tenant, event, attempts so far, age in ms, delayed or '' of each
local MAX_TENANTS = 1000
local limit, ends, share = tonumber(ARGV[2]), now + tonumber(ARGV[3]), tonumber(ARGV[4])
local running = {}
for index = 5, #ARGV, 2 do running[ARGV[index]] = tonumber(ARGV[index + 1]) end

local queues, longest = {}, 0
for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', keys.deliveries_due, '-inf', now, 'LIMIT', 0, MAX_TENANTS)) do
  local free = math.min(limit, share - (running[tenant] or 0))
  if free > 0 then
    local due = redis.call('ZRANGEBYSCORE', keys.tenant_deliveries_due(tenant), '-inf', now, 'LIMIT', 0, free)
    queues[#queues + 1] = {tenant = tenant, due = due}
    longest = math.max(longest, #due)
  end
end

local answer, count = {'ok'}, 0
local function claim(delivery, tenant)
  local row = redis.call('HMGET', keys.delivery(delivery), 'job', 'event', 'attempts', 'created_ms', 'claim', 'delayed')
  if not (row[1] and row[2] and tonumber(row[3])) then -- it has expired, was deleted or is damaged
    redis.call('ZREM', keys.tenant_deliveries_due(tenant), delivery)
    redis.call('ZREM', keys.deliveries_open, delivery)
    redis.call('DEL', keys.delivery(delivery), keys.delivery_attempts(delivery))
    return
  end
  if row[5] then row[3] = redis.call('HINCRBY', keys.delivery(delivery), 'attempts', 1) end
  redis.call('ZADD', keys.tenant_deliveries_due(tenant), ends, delivery)
  redis.call('HSET', keys.delivery(delivery), 'claim', ARGV[1])
  for _, item in ipairs({delivery, row[1], tenant, row[2], row[3], integer(since(row[4])), row[6] or ''}) do
    answer[#answer + 1] = item
  end
  count = count + 1
end

for turn = 1, longest do
  for _, queue in ipairs(queues) do
    if queue.due[turn] and count < limit then claim(queue.due[turn], queue.tenant) end
  end
end
for _, queue in ipairs(queues) do refresh_deliveries_due(queue.tenant) end
return answer
