#!lua flags=no-writes
-- Read the state of the service from counters and the first members of the queues. It reads no key whose size grows with
-- the number of jobs.
-- queue, leases, deadlines, deliveries:due:{tenant}, deliveries:open, unarchived   counted; their first members
-- arrivals, durations, totals, turnaround, workers, worker                        read
--
-- ARGV: lease in ms, then the horizons in ms within which to count deadlines
-- Returns: ok, JSON
local lease = tonumber(ARGV[1])

local function queue_stats(stage, priority)
  local key = keys.queue(stage, priority)
  local first = redis.call('ZRANGE', key, 0, 0)[1]
  local entered = first and get(first, stage == 'generate' and 'prepared_ms' or 'created_ms')
  return {waiting = redis.call('ZCARD', key), oldest_wait_ms = first and since(entered) or 0}
end

local function stage_stats(stage)
  local priorities = {}
  for _, priority in ipairs(PRIORITIES) do priorities[priority] = queue_stats(stage, priority) end
  local arrivals = redis.call('HMGET', keys.arrivals(stage), 'count', 'at')
  local durations = redis.call('HMGET', keys.durations(stage), 'count', 'sum_ms', 'slots')
  local count = tonumber(durations[1]) or 0
  return {
    priorities = priorities,
    in_progress = redis.call('ZCARD', keys.leases(stage)),
    arrivals_per_s = (tonumber(arrivals[1]) or 0) * remaining_weight(arrivals[2]) * 1000 / DECAY_MS,
    job_ms = count > 0 and tonumber(durations[2]) / count or 0,
    slots = tonumber(durations[3]) or 0,
  }
end

local function hash(key)
  local row, found = redis.call('HGETALL', key), {}
  for index = 1, #row, 2 do found[row[index]] = row[index + 1] end
  return found
end

local workers = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', keys.workers, now - lease, '+inf')) do
  local row = hash(keys.worker(worker))
  if row.stage then
    row.id = worker
    workers[#workers + 1] = row
  end
end

local must_start = {}
for index = 2, #ARGV do
  must_start[ARGV[index]] = redis.call('ZCOUNT', keys.deadlines, '-inf', now + tonumber(ARGV[index]))
end

local stages = {}
for _, stage in ipairs(STAGES) do stages[stage] = stage_stats(stage) end

local deliveries_due = 0
for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', keys.deliveries_due, '-inf', now)) do
  deliveries_due = deliveries_due + redis.call('ZCOUNT', keys.tenant_deliveries_due(tenant), '-inf', now)
end

local oldest = redis.call('ZRANGE', keys.deliveries_open, 0, 0, 'WITHSCORES')
local memory = redis.call('INFO', 'memory')
return {'ok', cjson.encode({
  stages = stages,
  workers = workers,
  must_start = must_start,
  deliveries = {
    due = deliveries_due,
    open = redis.call('ZCARD', keys.deliveries_open),
    tenants = redis.call('ZCARD', keys.deliveries_due),
    oldest_ms = oldest[2] and since(oldest[2]) or 0,
  },
  unarchived = redis.call('ZCARD', keys.unarchived),
  memory = {
    used = tonumber(string.match(memory, 'used_memory:(%d+)')),
    limit = tonumber(string.match(memory, 'maxmemory:(%d+)')),
  },
  totals = hash(keys.totals),
  turnaround = hash(keys.turnaround),
})}
