#!lua flags=no-writes
-- How the service is doing, out of counts and heads of lines: no key that grows with the jobs is read through.
-- queue, leases, deadlines, deliveries:due, deliveries:open, archive   counted; their first members
-- arrivals, pace, totals, workers                                      read
--
-- ARGV: lease in ms, then the horizons in ms within which jobs must start
-- Replies: ok, JSON
local lease = tonumber(ARGV[1])

local function line(stage, priority)
  local key = 'queue:' .. stage .. ':' .. priority
  local head = redis.call('ZRANGE', key, 0, 0)[1]
  local came = head and get(head, stage == 'generate' and 'prepared_at' or 'created')
  return {waiting = redis.call('ZCARD', key), head_ms = head and since(came) or 0}
end

local function stage_stats(stage)
  local priorities = {}
  for _, priority in ipairs(PRIORITIES) do priorities[priority] = line(stage, priority) end
  local arrivals = redis.call('HMGET', 'arrivals:' .. stage, 'count', 'at')
  local pace = redis.call('HMGET', 'pace:' .. stage, 'count', 'sum', 'slots')
  return {
    priorities = priorities,
    in_progress = redis.call('ZCARD', 'leases:' .. stage),
    arrivals_per_s = (tonumber(arrivals[1]) or 0) * still_counts(arrivals[2]) * 1000 / FORGET_MS,
    job_ms = (tonumber(pace[1]) or 0) > 0 and tonumber(pace[2]) / tonumber(pace[1]) or 0,
    slots = tonumber(pace[3]) or 0,
  }
end

local function pairs_of(key)
  local row, found = redis.call('HGETALL', key), {}
  for index = 1, #row, 2 do found[row[index]] = row[index + 1] end
  return found
end

local workers = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', 'workers', now - lease, '+inf')) do
  local row = pairs_of('worker:' .. worker)
  if row.stage then
    row.id = worker
    workers[#workers + 1] = row
  end
end

local must_start = {}
for index = 2, #ARGV do must_start[ARGV[index]] = redis.call('ZCOUNT', 'deadlines', '-inf', now + tonumber(ARGV[index])) end

local oldest = redis.call('ZRANGE', 'deliveries:open', 0, 0, 'WITHSCORES')
local memory = redis.call('INFO', 'memory')
return {'ok', cjson.encode({
  stages = {prepare = stage_stats('prepare'), generate = stage_stats('generate')},
  workers = workers,
  must_start = must_start,
  deliveries = {
    due = redis.call('ZCOUNT', 'deliveries:due', '-inf', now),
    open = redis.call('ZCARD', 'deliveries:open'),
    oldest_ms = oldest[2] and since(oldest[2]) or 0,
  },
  unarchived = redis.call('ZCARD', 'archive'),
  memory = {
    used = tonumber(string.match(memory, 'used_memory:(%d+)')),
    limit = tonumber(string.match(memory, 'maxmemory:(%d+)')),
  },
  totals = pairs_of('totals'),
})}
