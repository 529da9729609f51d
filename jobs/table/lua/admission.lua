-- Reservations of jobs that are being submitted, and how fast jobs end; follows lists.lua in every script.

local function cancel_reservation(id, tenant)
  redis.call('ZREM', keys.reserved, id)
  redis.call('ZREM', keys.tenant_reserved(tenant), id)
end

local END_SMOOTHING = 0.2  -- weight of the newest interval
local MAX_INTERVAL_MS = 60000
local DEFAULT_WAIT_S = 30
local MAX_WAIT_S = 300

-- Record that a job has ended, in a hash with the mean interval between such ends.
-- busy_since: when the first of the open jobs was accepted; the time before it says nothing
local function record_end(key, busy_since)
  local row = redis.call('HMGET', key, 'end_interval_ms', 'last_end_ms')
  local last = math.max(tonumber(row[2]) or 0, busy_since)
  if last > 0 then
    local interval = math.min(since(last), MAX_INTERVAL_MS)
    local mean = tonumber(row[1]) or interval
    redis.call('HSET', key, 'end_interval_ms', decimal(mean + END_SMOOTHING * (interval - mean)))
  end
  redis.call('HSET', key, 'last_end_ms', integer(now))
end

-- Seconds until so many jobs have probably ended.
local function expected_wait_s(key, jobs)
  local interval = tonumber(redis.call('HGET', key, 'end_interval_ms'))
  if not interval then return DEFAULT_WAIT_S end
  return math.max(1, math.min(MAX_WAIT_S, math.ceil(interval * jobs / 1000)))
end
