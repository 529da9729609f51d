-- Precedes every script, followed by fair_queue.lua and removal.lua. A script returns a list; its first item is a word:
-- ok, or the reason for a refusal.
-- Times are milliseconds since 1970 by Redis' clock.
--
-- Strings
--   epoch                          id of the installation; without it every script refuses
--   reconciled                     run id of the Redis process whose data was last reconciled with the object store
--   reconcile_again                run id of a promoted replica, and when its data is reconciled once more
--   intake_paused                  exists while an operator drains the service
--   clock                          the latest time that adjust_for_clock_step has seen
--   claim:{claim}                  id of the job that the claim received; expires
--   labels:{id}                    hashes of the job's pairs of metadata, separated by spaces; expires after its record
--   body:{tenant}:{hash}           id of the job that this request body created; expires
--   poison_suspect:{worker}        id of the suspected poison job that the worker runs, or ran when it was lost; expires
--   api_key:{hash}                 cached lookup of an API key; expires
--   api_key:{hash}:stale           the same for the time when the object store is away; expires
-- Hashes
--   job:{id}                       the record; fields in jobs/model/job.py
--   virtual_time:{stage}:{priority}   time: service of the tenant whose job was claimed last · pass: jobs claimed so far,
--                                  divided by the priority's weight
--   tenant:{tenant}                open_jobs: jobs that have not ended · sequence: number of its newest queued job ·
--                                  service:{stage}:{priority}: what it has received · mean_cost:{stage}: of its jobs ·
--                                  forgotten: ended jobs that have left Redis because there were many
--   worker:{worker}                stage, state, slots, free, kv_free_tokens, tokens_per_s; expires
--   arrivals:{stage}               jobs that entered the stage's queues, as a moving average: count, at
--   durations:{stage}              how long workers had the stage's jobs, as a moving average: count, sum_ms, at ·
--                                  slots: of the stage's last ready worker · successes: jobs that have passed the stage
--   open_uploads:{tenant}          sizes of the tenant's uploads that no job uses yet, by id
--   ends                           mean interval between the ends of jobs: end_interval_ms, last_end_ms; a tenant's
--                                  are in tenant:{tenant}, with busy_since_ms
--   usage:{tenant}:{day}           jobs by status, tokens by kind, gpu_ms; day: days since 1970; expires
--   totals                         counters since the epoch: {status}:{error code}, lost:{stage}, tokens:{kind}
--   turnaround                     ended jobs by the time since they were accepted: {priority}:{status}:{upper bound of the
--                                  bucket in s}; {priority}:{status}:sum_ms
--   delivery:{delivery}            job, tenant, event, state, attempts, created_ms, claim, delayed: its first attempt is
--                                  late for a reason outside of the keeper; expires once it is settled
-- Sorted sets
--   queue:{stage}:{priority}       waiting jobs of all tenants by the time at which they entered the stage
--   queue:{stage}:{priority}:{tenant}   a tenant's waiting jobs in their order, without delayed ones
--   tenants:{stage}:{priority}     tenants with a job in a queue of theirs, by the service that they have received
--   delayed:{stage}                waiting jobs that may not be claimed yet, by the time from which they may
--   leases:{stage}                 claimed and sealed jobs by the end of their lease
--   deadlines                      jobs that no generate worker has started by their deadline
--   unarchived                     ended jobs whose events are in Redis only, by their end
--   removals                       ended jobs by the end of their own retention, where it is shorter than the service's
--   removed                        jobs that were deleted or withdrawn, by the time at which the keeper deletes objects that
--                                  were written late; until then their records are not created again
--   withdrawals                    withdrawn jobs whose objects are not deleted yet, by the time of the withdrawal
--   jobs:{tenant}                  a tenant's jobs by creation time
--   ended:{tenant}                 a tenant's ended jobs by the time at which their record expires
--   reserved · reserved:{tenant}   jobs that are being submitted close to a limit, by the end of their reservation
--   expiries                       tenants with ended jobs by the first of these times
--   label:{tenant}:{hash}          those with one pair of metadata by creation time
--   workers                        workers by their last heartbeat
--   uploads:due                    {tenant}/{upload}: when the keeper looks at it, or deletes it
--   deliveries:due                 tenants that have deliveries to attempt, by the time of the earliest attempt
--   deliveries:due:{tenant}        a tenant's deliveries by the time of their next attempt
--   deliveries:open                deliveries that are not settled, by creation time
-- Lists and streams
--   stream:{id}                    events and journal of a job
--   {stage}                        Celery's list of wake-up messages for the stage
--   job_deliveries:{id}            ids of a job's deliveries
--   delivery:{delivery}:attempts   attempts as JSON

-- jobs/table/keys.py has the same names.
local keys = {
  epoch = 'epoch', intake_paused = 'intake_paused', clock = 'clock', totals = 'totals', turnaround = 'turnaround',
  deadlines = 'deadlines',
  ends = 'ends', reserved = 'reserved', expiries = 'expiries', unarchived = 'unarchived', removals = 'removals', removed = 'removed',
  withdrawals = 'withdrawals', workers = 'workers',
  deliveries_due = 'deliveries:due', deliveries_open = 'deliveries:open',
  uploads_due = 'uploads:due', batches_open = 'batches:open',
}
function keys.job(id) return 'job:' .. id end
function keys.stream(id) return 'stream:' .. id end
function keys.queue(stage, priority) return 'queue:' .. stage .. ':' .. priority end
function keys.tenant_queue(stage, priority, tenant) return 'queue:' .. stage .. ':' .. priority .. ':' .. tenant end
function keys.active_tenants(stage, priority) return 'tenants:' .. stage .. ':' .. priority end
function keys.delayed(stage) return 'delayed:' .. stage end
function keys.virtual_time(stage, priority) return 'virtual_time:' .. stage .. ':' .. priority end
function keys.leases(stage) return 'leases:' .. stage end
function keys.claim(claim) return 'claim:' .. claim end
function keys.tenant(tenant) return 'tenant:' .. tenant end
function keys.jobs(tenant) return 'jobs:' .. tenant end
function keys.label(tenant, hash) return 'label:' .. tenant .. ':' .. hash end
function keys.job_labels(id) return 'labels:' .. id end
function keys.ended(tenant) return 'ended:' .. tenant end
function keys.tenant_reserved(tenant) return 'reserved:' .. tenant end
function keys.body(tenant, hash) return 'body:' .. tenant .. ':' .. hash end
function keys.usage(tenant, day) return 'usage:' .. tenant .. ':' .. day end
function keys.open_uploads(tenant) return 'open_uploads:' .. tenant end
function keys.open_batches(tenant) return 'open_batches:' .. tenant end
function keys.batch_lease(id) return 'batch_lease:' .. id end
function keys.worker(worker) return 'worker:' .. worker end
function keys.poison_suspect(worker) return 'poison_suspect:' .. worker end
function keys.wakeups(stage) return stage end
function keys.arrivals(stage) return 'arrivals:' .. stage end
function keys.durations(stage) return 'durations:' .. stage end
function keys.tenant_deliveries_due(tenant) return 'deliveries:due:' .. tenant end
function keys.delivery(delivery) return 'delivery:' .. delivery end
function keys.delivery_attempts(delivery) return 'delivery:' .. delivery .. ':attempts' end
function keys.job_deliveries(id) return 'job_deliveries:' .. id end

if redis.call('EXISTS', keys.epoch) == 0 then
  return {'recovery_needed'}
end

local STAGES = {'prepare', 'generate'}
local PRIORITIES = {'high', 'default', 'low'}
local WEIGHTS = {high = 8, default = 4, low = 1}
local TERMINAL = {completed = true, failed = true, cancelled = true, expired = true}

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Lua prints 1.7e+12 for large numbers; Redis wants digits.
local function integer(number)
  return string.format('%.0f', number)
end

local function decimal(number)
  return string.format('%.6f', number)
end

-- Milliseconds since a time. 0 when the clock was set back in between.
local function since(moment)
  return math.max(0, now - (tonumber(moment) or now))
end

-- A field of a job's record; '' when it is missing.
local function get(id, field)
  return redis.call('HGET', keys.job(id), field) or ''
end

local function get_number(id, field)
  return tonumber(get(id, field)) or 0
end

-- Each tenant has a queue of deliveries, so that a claim finds every tenant's first ones however long another queue is.
-- deliveries:due lists the tenants by the first member of their queues.
local function refresh_deliveries_due(tenant)
  local first = redis.call('ZRANGE', keys.tenant_deliveries_due(tenant), 0, 0, 'WITHSCORES')
  if first[2] then
    redis.call('ZADD', keys.deliveries_due, first[2], tenant)
  else
    redis.call('ZREM', keys.deliveries_due, tenant)
  end
end

local function schedule_delivery(delivery, tenant, at)
  redis.call('ZADD', keys.tenant_deliveries_due(tenant), integer(at), delivery)
  refresh_deliveries_due(tenant)
end

local function unschedule_delivery(delivery, tenant)
  redis.call('ZREM', keys.tenant_deliveries_due(tenant), delivery)
  refresh_deliveries_due(tenant)
end

-- Deliveries of a tenant that wait for an attempt.
local function count_deliveries(tenant)
  return redis.call('ZCARD', keys.tenant_deliveries_due(tenant))
end

-- Sequence number of a job's newest event; 0 when it has none.
local function last_sequence(id)
  local newest = redis.call('XREVRANGE', keys.stream(id), '+', '-', 'COUNT', 1)
  if #newest == 0 then return 0 end
  return tonumber(string.match(newest[1][1], '^(%d+)'))
end

-- nil when the claim owns the job, otherwise the reason for the refusal.
local function refusal(id, claim)
  local row = redis.call('HMGET', keys.job(id), 'status', 'claim')
  if not row[1] then return 'unknown' end
  if TERMINAL[row[1]] or claim == '' or row[2] ~= claim then return 'lost' end
  return nil
end

-- A job that has lost this many leases is a suspected poison job: it may be what kills its workers. A worker runs at
-- most one of them, so that the next crash is counted for that job alone.
local SUSPECT_LOST_LEASES = 2

local function is_suspect(id)
  return get_number(id, 'lost_leases') >= SUSPECT_LOST_LEASES
end

local function clear_suspect(id)
  local key = keys.poison_suspect(get(id, 'worker'))
  if redis.call('GET', key) == id then redis.call('DEL', key) end
end

-- Jobs that have passed a stage. When it grows, the servers that the stage needs do answer.
local function count_successes(stage)
  return tonumber(redis.call('HGET', keys.durations(stage), 'successes')) or 0
end

local function record_success(stage)
  redis.call('HINCRBY', keys.durations(stage), 'successes', 1)
end

-- Moving averages for autoscaling (jobs/scaling.py): a job of 5 minutes ago counts 1/e of a new one.
local DECAY_MS = 300000

local function remaining_weight(moment)
  return math.exp(-since(moment) / DECAY_MS)
end

local function record_arrival(stage)
  local key = keys.arrivals(stage)
  local row = redis.call('HMGET', key, 'count', 'at')
  local count = (tonumber(row[1]) or 0) * remaining_weight(row[2]) + 1
  redis.call('HSET', key, 'count', decimal(count), 'at', integer(now))
end

-- The last four jobs always count: after a quiet night the mean would otherwise be that of one job.
-- duration_ms: of the job on one of the worker's slots; nil: the time since the claim.
local function record_duration(id, stage, duration_ms)
  local key = keys.durations(stage)
  duration_ms = duration_ms or since(get(id, 'claimed_ms'))
  local row = redis.call('HMGET', key, 'count', 'sum_ms', 'at')
  local count = tonumber(row[1]) or 0
  local weight = remaining_weight(row[3])
  if count * weight < 3 then weight = math.min(1, 3 / math.max(count, 1)) end
  redis.call('HSET', key, 'count', decimal(count * weight + 1),
    'sum_ms', string.format('%.3f', (tonumber(row[2]) or 0) * weight + duration_ms), 'at', integer(now))
end
