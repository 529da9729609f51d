#!lua flags=allow-oom
-- Give the best waiting job of a stage to a worker, under a lease.
-- queue:{stage}:{priority} · queue:{stage}:{priority}:{tenant} · tenants:{stage}:{priority}   - id
-- delayed:{stage}                   - jobs that are due: they return to their queues
--                                   + jobs whose record is newer than the worker knows: they do not block the others
-- tenant:{tenant}                   service: + the estimated cost of the job
-- virtual_time:{stage}:{priority}   time and pass advance
-- job:{id}                          attempt + 1, claim, worker, claimed_ms, started_ms, charged, successes_seen;
--                                   not confirmed
-- leases:{stage}                    + id
-- deadlines                         - id when a generate worker claims it. 0 when its deadline has passed: a clock that
--                                   is set back later does not change that. 0 also for a damaged record: the keeper
--                                   ends the job, and the others do not wait for it
-- claim:{claim}                     id, so that a repeated call returns the same job; expires
-- poison_suspect:{worker}           id, when it is a suspected poison job; expires unless the worker's heartbeat renews it
--
-- ARGV: stage, claim, worker, free KV tokens, lease in ms, newest record version that the worker knows, 1 when the worker
--       has a free slot, then the tenants whose jobs it does not claim
-- Returns: ok, id, seq of its newest event, now, field, value … | empty | full (the first job does not fit) |
--          elsewhere (another worker has a free slot)
local MAX_CHECKED = 100  -- jobs of a priority; takes half a millisecond
local NEWER_DELAY_MS = 5000  -- until a job with a newer record is looked at again, perhaps by a newer worker

local stage, claim, worker = ARGV[1], ARGV[2], ARGV[3]
local free_tokens, lease, version = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local function reply(id)
  local answer = {'ok', id, last_sequence(id), integer(now)}
  for _, item in ipairs(redis.call('HGETALL', keys.job(id))) do answer[#answer + 1] = item end
  return answer
end

local earlier = redis.call('GET', keys.claim(claim))
if earlier then
  if refusal(earlier, claim) then return {'empty'} end
  return reply(earlier)
end

local is_served = {}
for index = 8, #ARGV do is_served[ARGV[index]] = true end
if ARGV[7] ~= '1' and #ARGV > 7 and count_free_slots(stage, lease, worker) > 0 then return {'elsewhere'} end

-- Whether a queued job still waits, is wanted and is in time. Others leave the queue; the keeper ends the expired ones
-- and those whose record is damaged.
local function is_claimable(id, tenant)
  local job = redis.call('HMGET', keys.job(id), 'stage', 'status', 'claim', 'sealed', 'cancel_requested', 'deadline_ms',
    'started_ms', 'tenant', 'attempt', 'sequence')
  if job[1] ~= stage or job[3] ~= '' or (job[4] or '') ~= '' or job[5] == '1' then return false end
  if job[2] ~= 'preparing' and job[2] ~= 'queued' then return false end
  local deadline, attempt = tonumber(job[6]), job[9] or '0'
  if not deadline or job[8] ~= tenant or not string.match(attempt, '^%d+$') or not tonumber(job[10]) then
    redis.call('ZADD', keys.deadlines, 0, id)
    return false
  end
  if job[7] or now < deadline then return true end
  redis.call('ZADD', keys.deadlines, 'XX', 0, id)
  return false
end

-- While the worker runs one suspected poison job, the others wait for it or for another worker. They do not starve:
-- they keep their positions, ahead of the jobs that pass them.
local function runs_suspect()
  local id = redis.call('GET', keys.poison_suspect(worker))
  local row = id and redis.call('HMGET', keys.job(id), 'worker', 'claim', 'status')
  return row and row[1] == worker and row[2] ~= '' and not TERMINAL[row[3]]
end
local has_suspect = runs_suspect()

-- The first claimable job of the tenant that has received least, the tenant, and its service.
local function first_claimable(priority)
  local active, skipped_tenants, skipped = keys.active_tenants(stage, priority), 0, 0
  for _ = 1, MAX_CHECKED do
    local row = redis.call('ZRANGE', active, skipped_tenants, skipped_tenants, 'WITHSCORES')
    if #row == 0 then return nil end
    local tenant = row[1]
    local id = redis.call('ZRANGE', keys.tenant_queue(stage, priority, tenant), skipped, skipped)[1]
    if is_served[tenant] then
      skipped_tenants = skipped_tenants + 1
    elseif not id then
      if skipped == 0 then redis.call('ZREM', active, tenant) else skipped_tenants = skipped_tenants + 1 end
      skipped = 0
    elseif not is_claimable(id, tenant) then
      dequeue(id, stage, priority, tenant)
    elseif get_number(id, 'version') > version then
      dequeue(id, stage, priority, tenant)
      return_to_queue(id, stage, NEWER_DELAY_MS)
    elseif has_suspect and is_suspect(id) then
      skipped = skipped + 1
    else
      return id, tenant, tonumber(row[2])
    end
  end
end

-- Stride scheduling between priorities: the one with the lowest pass is next. One that was empty resumes at the pass of
-- those that were not, below.
insert_due(stage)
local best
for _, priority in ipairs(PRIORITIES) do
  local id, tenant, service = first_claimable(priority)
  if id then
    local pass = tonumber(redis.call('HGET', keys.virtual_time(stage, priority), 'pass')) or 0
    if not best or pass < best.pass then
      best = {priority = priority, id = id, tenant = tenant, service = service, pass = pass}
    end
  end
end
if not best then return {'empty'} end

local id, priority = best.id, best.priority
if get_number(id, 'required_tokens') > free_tokens then return {'full'} end

dequeue(id, stage, priority, best.tenant)
charge_claim(id, best.tenant, stage, priority)
local clock = keys.virtual_time(stage, priority)
redis.call('HSET', clock,
  'time', decimal(math.max(tonumber(redis.call('HGET', clock, 'time')) or 0, best.service)),
  'pass', decimal(best.pass + 1 / WEIGHTS[priority]))
for _, other in ipairs(PRIORITIES) do
  if redis.call('ZCARD', keys.queue(stage, other)) == 0 then
    local idle = keys.virtual_time(stage, other)
    local pass = tonumber(redis.call('HGET', idle, 'pass')) or 0
    if pass < best.pass then redis.call('HSET', idle, 'pass', decimal(best.pass)) end
  end
end

if is_suspect(id) then redis.call('SET', keys.poison_suspect(worker), id, 'PX', 4 * lease) end
redis.call('HINCRBY', keys.job(id), 'attempt', 1)
redis.call('HDEL', keys.job(id), 'confirmed')
redis.call('HSETNX', keys.job(id), 'successes_seen', count_successes(stage))
redis.call('HSET', keys.job(id), 'claim', claim, 'worker', worker, 'claimed_ms', integer(now))
if stage == 'generate' then
  redis.call('HSET', keys.job(id), 'status', 'running')
  redis.call('HSETNX', keys.job(id), 'started_ms', integer(now))
  redis.call('ZREM', keys.deadlines, id)
end
redis.call('ZADD', keys.leases(stage), now + lease, id)
redis.call('SET', keys.claim(claim), id, 'PX', 4 * lease)
return reply(id)
