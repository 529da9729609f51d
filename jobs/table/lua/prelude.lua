-- Stands before every script. Replies are lists whose first item is a word: ok, or why not.
--
-- epoch                      set by a first start or by `recover`; without it nothing may be written
-- job:{id}                   the record
-- queue:{stage}:{priority}       waiting jobs by virtual start tag
-- vtime:{stage}:{priority}       v: the priority's clock · pass: what the priority has had, over its weight
-- tenant:{t}                 last:{stage}:{priority}: the tenant's next free tag · open: its jobs that have not ended
-- leases:{stage}             claimed and sealed jobs by the end of their lease
-- stream:{id}                journal and events
-- {stage}                    Celery's list of the stage's doorbells
-- workers · worker:{w}       who is alive, and how much it has free
-- suspect:{w}                the one job with two lost_leases that a worker has, or had when it was lost
-- arrivals:{stage}           jobs that came into its line, forgotten over FORGET_MS: count, at
-- pace:{stage}               milliseconds that workers had its jobs, forgotten likewise: count, sum, at · slots: of its last worker
-- totals                     counters since the epoch: {status}:{code}, lost:{stage}, tokens:{kind}

if redis.call('EXISTS', 'epoch') == 0 then
  return {'recovery_needed'}
end

local WEIGHTS = {high = 8, default = 4, low = 1}
local PRIORITIES = {'high', 'default', 'low'}
local TERMINAL = {completed = true, failed = true, cancelled = true, expired = true}

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function whole(number)
  -- Lua prints 1.7e+12 for large numbers; Redis wants digits.
  return string.format('%.0f', number)
end

-- Milliseconds from then till now; none when the clock was set back in between.
local function since(moment)
  return math.max(0, now - (tonumber(moment) or now))
end

local function get(id, field)
  local value = redis.call('HGET', 'job:' .. id, field)
  return value or ''
end

local function put_in_line(id, stage, priority, tag)
  redis.call('ZADD', 'queue:' .. stage .. ':' .. priority, tag, id)
end

-- A new job of a tenant starts where the tenant's last one will have been served, but never in the past:
-- tenants that wait share evenly, and idleness earns no credit.
local function enqueue(id, tenant, stage, priority, cost)
  local clock = tonumber(redis.call('HGET', 'vtime:' .. stage .. ':' .. priority, 'v')) or 0
  local field = 'last:' .. stage .. ':' .. priority
  local last = tonumber(redis.call('HGET', 'tenant:' .. tenant, field)) or 0
  local tag = math.max(clock, last)
  redis.call('HSET', 'tenant:' .. tenant, field, string.format('%.6f', tag + cost))
  redis.call('HSET', 'job:' .. id, 'tag', string.format('%.6f', tag), 'cost', cost)
  put_in_line(id, stage, priority, tag)
end

-- A tenant's lists: all of its jobs, and those with one pair of metadata, whose hashes stand in ARGV.
-- They forget by themselves: the oldest members here, and the whole when nothing comes in any more.
local function list_job(id, tenant, created, remembered, first_label, last_label)
  local names = {'jobs:' .. tenant}
  for label = first_label, last_label do names[#names + 1] = 'label:' .. tenant .. ':' .. ARGV[label] end
  for _, name in ipairs(names) do
    redis.call('ZADD', name, created, id)
    redis.call('ZREMRANGEBYSCORE', name, '-inf', now - tonumber(remembered))
    redis.call('PEXPIRE', name, remembered)
  end
end

local function leave_line(id, stage, priority)
  redis.call('ZREM', 'queue:' .. stage .. ':' .. priority, id)
end

local function count_waiting(stage)
  local waiting = 0
  for _, priority in ipairs(PRIORITIES) do
    waiting = waiting + redis.call('ZCARD', 'queue:' .. stage .. ':' .. priority)
  end
  return waiting
end

-- Is another doorbell wanted? Yes while jobs wait and fewer bells lie there than workers have slots free, at least one:
-- a bell too many costs a look, a bell too few costs the keeper's next round.
local function wants_bell(stage, lease)
  local waiting = count_waiting(stage)
  if waiting == 0 then return false end
  local free = 0
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', 'workers', now - lease, '+inf')) do
    local row = redis.call('HMGET', 'worker:' .. worker, 'stage', 'free', 'state')
    if row[1] == stage and row[3] == 'ready' then free = free + tonumber(row[2]) end
  end
  return redis.call('LLEN', stage) < math.max(1, math.min(free, waiting))
end

local function last_sequence(id)
  local newest = redis.call('XREVRANGE', 'stream:' .. id, '+', '-', 'COUNT', 1)
  if #newest == 0 then return 0 end
  return tonumber(string.match(newest[1][1], '^(%d+)'))
end

-- A worker has at most one job that may be what kills workers, so that the next crash is charged to it alone.
local SUSPECT_LOSSES = 2

local function clear_suspect(id)
  local key = 'suspect:' .. get(id, 'worker')
  if redis.call('GET', key) == id then redis.call('DEL', key) end
end

-- nil when the claim owns the job, otherwise the reason for the refusal.
local function refusal(id, claim)
  local fields = redis.call('HMGET', 'job:' .. id, 'status', 'claim')
  if not fields[1] then return 'unknown' end
  if TERMINAL[fields[1]] then return 'lost' end
  if fields[2] ~= claim then return 'lost' end
  return nil
end

-- What autoscaling reads (jobs/scaling.py). A third of what counted five minutes ago counts now.
local FORGET_MS = 300000

local function still_counts(moment)
  return math.exp(-since(moment) / FORGET_MS)
end

local function arrived(stage)
  local key = 'arrivals:' .. stage
  local row = redis.call('HMGET', key, 'count', 'at')
  local count = (tonumber(row[1]) or 0) * still_counts(row[2]) + 1
  redis.call('HSET', key, 'count', string.format('%.6f', count), 'at', whole(now))
end

-- The last four jobs count in any case: a mean of one would jump after every quiet night.
local function took(id, stage)
  local key, took_ms = 'pace:' .. stage, since(get(id, 'claimed'))
  local row = redis.call('HMGET', key, 'count', 'sum', 'at')
  local count = tonumber(row[1]) or 0
  local left = still_counts(row[3])
  if count * left < 3 then left = math.min(1, 3 / math.max(count, 1)) end
  redis.call('HSET', key, 'count', string.format('%.6f', count * left + 1),
    'sum', string.format('%.3f', (tonumber(row[2]) or 0) * left + took_ms), 'at', whole(now))
end
