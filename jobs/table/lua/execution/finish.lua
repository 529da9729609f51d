#!lua flags=allow-oom
-- Step three of an end: what results/<id>.json says becomes the job's status, event and deliveries.
-- There is no fence: the object is the proof, so any process that has read it may finish.
-- job:{id}                        status, ended_ms, error_code; expires
-- queue, delayed, leases, deadlines   - id
-- tenant:{tenant}                 service: the tokens used replace the estimate; open_jobs - 1
-- ended:{tenant} · expiries        + id, its tenant by the time at which the record expires
-- jobs:{tenant} · label:{tenant}:{hash} · labels:{id}   expire later than the record
-- stream:{id}                     + ended
-- unarchived                      + id: the keeper moves its stream to the object store
-- removals                        + id by the end of its retention, when that is shorter than the service's
-- usage:{tenant}:{day}            jobs by status, tokens by kind, GPU time
-- totals                          jobs by status and code, tokens by kind
-- turnaround                      the bucket of its time since the acceptance + 1
-- ends                            + 1
-- durations:generate              of a completed job; successes + 1
-- delivery:{delivery} · job_deliveries:{id}   its result copies, and the webhook when its callback asks for this status
-- deliveries:due:{tenant}         + delivery, unless it is settled
-- deliveries:open                 + delivery by its creation time, unless it is settled
-- poison_suspect:{worker}         deleted, unless the job may have killed the worker
--
-- ARGV: id, status, error code, event data, retention in ms, retention of usage in ms,
--       tokens of the prompt, of thinking, of the answer, GPU milliseconds,
--       when it ended in ms (0: now), 1 when its events are archived already,
--       then id, state of each delivery that is settled already
-- Returns: ok | ended, status | unknown
local id, status, error_code, retention = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
local present = get(id, 'status')
if present == '' then return {'unknown'} end
if TERMINAL[present] then return {'ended', present} end

local stage, priority, tenant = get(id, 'stage'), get(id, 'priority'), get(id, 'tenant')
local ended = tonumber(ARGV[11]) or 0
if ended == 0 then ended = now end
local expires = integer(math.max(1, ended + retention - now))
redis.call('HSET', keys.job(id), 'status', status, 'error_code', error_code, 'ended_ms', integer(ended), 'sealed', '')
dequeue(id, stage, priority, tenant)
redis.call('ZREM', keys.leases(stage), id)
redis.call('ZREM', keys.deadlines, id)
redis.call('PEXPIRE', keys.job(id), expires)
record_expiry(id, tenant, tonumber(expires))
if error_code ~= 'worker_lost' then clear_suspect(id) end

redis.call('HINCRBY', keys.tenant(tenant), 'open_jobs', -1)
local used = tonumber(ARGV[7]) + tonumber(ARGV[8]) + tonumber(ARGV[9])
if stage == 'generate' then
  -- A job that failed reports no usage; its record says how many tokens it has generated.
  settle_charge(id, stage, math.max(used, get_number(id, 'tokens')), status == 'completed')
else
  settle_charge(id, stage)
end

if ARGV[12] ~= '1' then
  redis.call('XADD', keys.stream(id), integer(last_sequence(id) + 1) .. '-0', 'type', 'ended', 'data', ARGV[4])
  redis.call('ZADD', keys.unarchived, now, id)
end
local own_retention = get_number(id, 'retention_ms')
if own_retention > 0 and own_retention < retention then
  redis.call('ZADD', keys.removals, ended + own_retention, id)
end

local usage = keys.usage(tenant, integer(math.floor(ended / 86400000)))
redis.call('HINCRBY', usage, status, 1)
for field, index in pairs({input_tokens = 7, thinking_tokens = 8, answer_tokens = 9, gpu_ms = 10}) do
  redis.call('HINCRBY', usage, field, ARGV[index])
end
redis.call('PEXPIRE', usage, ARGV[6])

-- jobs/table/reports/stats.py has the same bounds.
local TURNAROUND_BOUNDS_S = {'1', '2.5', '5', '10', '30', '60', '120', '300', '600', '1800', '3600', '14400', '86400'}

local function record_turnaround()
  local duration_ms, bound = since(get(id, 'created_ms')), '+Inf'
  for _, bound_s in ipairs(TURNAROUND_BOUNDS_S) do
    if duration_ms <= tonumber(bound_s) * 1000 then
      bound = bound_s
      break
    end
  end
  local series = priority .. ':' .. status .. ':'
  redis.call('HINCRBY', keys.turnaround, series .. bound, 1)
  redis.call('HINCRBY', keys.turnaround, series .. 'sum_ms', integer(duration_ms))
end

local settled = {}
for index = 13, #ARGV, 2 do settled[ARGV[index]] = ARGV[index + 1] end
if ARGV[11] == '0' then
  record_end(keys.ends, 0)
  record_end(keys.tenant(tenant), tonumber(redis.call('HGET', keys.tenant(tenant), 'busy_since_ms')) or 0)
  redis.call('HINCRBY', keys.totals, status .. ':' .. error_code, 1)
  record_turnaround()
  for kind, index in pairs({input = 7, thinking = 8, answer = 9}) do
    redis.call('HINCRBY', keys.totals, 'tokens:' .. kind, ARGV[index])
  end
  if status == 'completed' then
    record_duration(id, 'generate')
    record_success('generate')
  end
end

local function create_delivery(delivery, event)
  redis.call('HSET', keys.delivery(delivery),
    'job', id, 'tenant', tenant, 'event', event, 'state', settled[delivery] or 'pending', 'attempts', 0,
    'created_ms', integer(ended))
  if ARGV[11] ~= '0' then redis.call('HSET', keys.delivery(delivery), 'delayed', 1) end
  redis.call('RPUSH', keys.job_deliveries(id), delivery)
  redis.call('PEXPIRE', keys.job_deliveries(id), expires)
  if settled[delivery] then
    redis.call('PEXPIRE', keys.delivery(delivery), expires)
  else
    schedule_delivery(delivery, tenant, now)
    redis.call('ZADD', keys.deliveries_open, ended, delivery)
  end
end
for copy = 0, get_number(id, 'result_copies') - 1 do
  create_delivery('copy_' .. id .. '_' .. integer(copy), 'result.copy')
end
if string.find(' ' .. get(id, 'callback_events') .. ' ', ' ' .. status .. ' ', 1, true) then
  create_delivery('evt_' .. id .. '_' .. status, 'job.' .. status)
end
return {'ok'}
