-- The waiting jobs of a stage and priority, shared fairly between the tenants; follows prelude.lua in every script.
--
-- Each tenant has a queue of its own and an account of the service that it has received (a virtual token counter, Sheng
-- et al., OSDI 2024): seconds of a child process in the prepare stage, tokens in the generate stage. The next job is the
-- first one of the tenant that has received least. A claim charges an estimate, and the end of the claim replaces it by
-- what was used. A waiting job is charged nothing, so a cancelled one leaves no debt. A tenant whose queue was empty
-- starts at the present virtual time: it saves up no credit.

-- Charged for a tenant's first job in the prepare stage, in seconds.
local UNMEASURED_PREPARE_S = 0.2
-- Weight of the newest job in a tenant's mean cost.
local COST_SMOOTHING = 0.25
-- While no worker has a free slot, a tenant with more jobs in its queue is known to wait.
local NEWLY_WAITING = 8
-- A position counts the jobs of at most this many tenants: those that have received least.
local MAX_COUNTED_TENANTS = 100

local function service_field(stage, priority) return 'service:' .. stage .. ':' .. priority end

-- Add an amount, which may be negative, to a tenant's account.
local function charge(tenant, stage, priority, amount)
  local service = redis.call('HINCRBYFLOAT', keys.tenant(tenant), service_field(stage, priority), decimal(amount))
  redis.call('ZADD', keys.active_tenants(stage, priority), 'XX', service, tenant)
end

-- When a job entered a stage.
local function entered_ms(id, stage)
  return get_number(id, stage == 'generate' and 'prepared_ms' or 'created_ms')
end

-- Insert a job into the queues at the position that its record has.
local function insert(id, tenant, stage, priority)
  local account = redis.call('HGET', keys.tenant(tenant), service_field(stage, priority))
  if not redis.call('ZSCORE', keys.active_tenants(stage, priority), tenant) then
    local virtual_time = tonumber(redis.call('HGET', keys.virtual_time(stage, priority), 'time')) or 0
    account = decimal(math.max(virtual_time, tonumber(account) or 0))
    redis.call('HSET', keys.tenant(tenant), service_field(stage, priority), account)
    redis.call('ZADD', keys.active_tenants(stage, priority), account, tenant)
  end
  redis.call('ZADD', keys.tenant_queue(stage, priority, tenant), get(id, 'sequence'), id)
  redis.call('ZADD', keys.queue(stage, priority), entered_ms(id, stage), id)
end

-- Add a job to its queue for the first time, behind the other jobs of its tenant.
local function enqueue(id, tenant, stage, priority)
  redis.call('HSET', keys.job(id), 'sequence', redis.call('HINCRBY', keys.tenant(tenant), 'sequence', 1))
  insert(id, tenant, stage, priority)
end

-- Return a job to its earlier position in its queue, after a delay in ms.
local function return_to_queue(id, stage, delay)
  local tenant, priority = get(id, 'tenant'), get(id, 'priority')
  if (delay or 0) <= 0 then return insert(id, tenant, stage, priority) end
  redis.call('ZADD', keys.queue(stage, priority), entered_ms(id, stage), id)
  redis.call('ZADD', keys.delayed(stage), now + delay, id)
end

-- Remove a job from its queue. Its record may be missing, so the caller names its tenant.
local function dequeue(id, stage, priority, tenant)
  local queue = keys.tenant_queue(stage, priority, tenant)
  redis.call('ZREM', keys.queue(stage, priority), id)
  redis.call('ZREM', keys.delayed(stage), id)
  if redis.call('ZREM', queue, id) == 1 and redis.call('EXISTS', queue) == 0 then
    redis.call('ZREM', keys.active_tenants(stage, priority), tenant)
  end
end

-- Return the delayed jobs that are due to their queues, a few at each call.
local function insert_due(stage)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', keys.delayed(stage), '-inf', now, 'LIMIT', 0, 20)) do
    redis.call('ZREM', keys.delayed(stage), id)
    local tenant, priority = get(id, 'tenant'), get(id, 'priority')
    if tenant ~= '' and get(id, 'stage') == stage and redis.call('ZSCORE', keys.queue(stage, priority), id) then
      insert(id, tenant, stage, priority)
    end
  end
end

-- What a job will probably cost: as much as the tenant's earlier ones, but not more tokens than it may use.
local function estimated_cost(id, tenant, stage)
  local mean = tonumber(redis.call('HGET', keys.tenant(tenant), 'mean_cost:' .. stage))
  if stage == 'prepare' then return mean or UNMEASURED_PREPARE_S end
  local required_tokens = get_number(id, 'required_tokens')
  return math.min(mean or required_tokens, required_tokens)
end

-- Charge a tenant for a job that a worker claims now.
local function charge_claim(id, tenant, stage, priority)
  local estimate = estimated_cost(id, tenant, stage)
  charge(tenant, stage, priority, estimate)
  redis.call('HSET', keys.job(id), 'charged', decimal(estimate))
end

-- Replace the estimate of a claim that ends by the cost. Without an estimate nothing was claimed since the last call.
-- cost: nil for the time since the claim, in seconds
-- is_typical: whether the cost says something about the tenant's next job
local function settle_charge(id, stage, cost, is_typical)
  local charged = tonumber(get(id, 'charged'))
  if not charged then return end
  local tenant = get(id, 'tenant')
  cost = cost or since(get(id, 'claimed_ms')) / 1000
  charge(tenant, stage, get(id, 'priority'), cost - charged)
  redis.call('HDEL', keys.job(id), 'charged')
  if not is_typical then return end
  local field = 'mean_cost:' .. stage
  local mean = tonumber(redis.call('HGET', keys.tenant(tenant), field)) or cost
  redis.call('HSET', keys.tenant(tenant), field, decimal(mean + COST_SMOOTHING * (cost - mean)))
end

local function count_waiting(stage)
  local waiting = 0
  for _, priority in ipairs(PRIORITIES) do
    waiting = waiting + redis.call('ZCARD', keys.queue(stage, priority))
  end
  return waiting
end

-- The free slots of a stage's ready workers but one, by their last heartbeats.
local function count_free_slots(stage, lease, except)
  local free = 0
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', keys.workers, now - lease, '+inf')) do
    local row = redis.call('HMGET', keys.worker(worker), 'stage', 'free', 'state')
    if row[1] == stage and row[3] == 'ready' and worker ~= except then free = free + tonumber(row[2]) end
  end
  return free
end

-- Whether a tenant has so few jobs in its queues that it may just have begun to wait.
local function has_just_begun(stage, tenant)
  local length = 0
  for _, priority in ipairs(PRIORITIES) do
    length = length + redis.call('ZCARD', keys.tenant_queue(stage, priority, tenant))
  end
  return length <= NEWLY_WAITING
end

-- Whether a stage needs another wake-up message: jobs wait, and fewer messages wait than ready workers have free slots
-- (at least one). A surplus message costs one claim; a missing one costs until the keeper's next round.
-- except: a worker that is full, or ''; then a message is needed only if another one has a free slot
-- tenant: whose job was added, or ''. Without a free slot, workers claim only for tenants that they serve less than
-- others, and claim again whenever that changes: no message is needed for a tenant that waits already
local function needs_wakeup(stage, lease, except, tenant)
  local waiting = count_waiting(stage) - redis.call('ZCOUNT', keys.delayed(stage), '(' .. integer(now), '+inf')
  if waiting <= 0 then return false end
  local free = count_free_slots(stage, lease, except)
  if free == 0 and tenant ~= '' and not has_just_begun(stage, tenant) then return false end
  local wanted = math.max(except ~= '' and 0 or 1, math.min(free, waiting))
  return redis.call('LLEN', keys.wakeups(stage)) < wanted
end

-- The accounts, queue lengths and mean costs of the tenants that wait in a queue.
local function tenants_in(stage, priority)
  local active, rows = keys.active_tenants(stage, priority), {}
  for _, tenant in ipairs(redis.call('ZRANGE', active, 0, MAX_COUNTED_TENANTS - 1)) do
    local fields = redis.call('HMGET', keys.tenant(tenant), service_field(stage, priority), 'mean_cost:' .. stage)
    rows[#rows + 1] = {
      name = tenant, service = tonumber(fields[1]) or 0, mean_cost = tonumber(fields[2]),
      length = redis.call('ZCARD', keys.tenant_queue(stage, priority, tenant)),
    }
  end
  return rows
end

-- The estimated number of jobs of its priority that start before a job; nil when it does not wait.
-- tenants: from tenants_in
local function position(id, stage, priority, tenants)
  if not redis.call('ZSCORE', keys.queue(stage, priority), id) then return nil end
  local tenant = get(id, 'tenant')
  local own = redis.call('ZCOUNT', keys.tenant_queue(stage, priority, tenant), '-inf', '(' .. get(id, 'sequence'))
  local cost = math.max(estimated_cost(id, tenant, stage), 0.001)
  local service = tonumber(redis.call('HGET', keys.tenant(tenant), service_field(stage, priority))) or 0
  local starts_at, ahead = service + own * cost, own
  for _, other in ipairs(tenants) do
    if other.name ~= tenant then
      local before = math.floor((starts_at - other.service) / math.max(other.mean_cost or cost, 0.001)) + 1
      ahead = ahead + math.max(0, math.min(other.length, before))
    end
  end
  return ahead
end
