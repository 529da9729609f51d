#!lua flags=allow-oom
-- Check whether one more job may be accepted, and whether a repeated request body has created one already. Close to a
-- limit the job gets a reservation, which counts as a job until its record exists: parallel requests see each other.
-- queue:{stage}:{priority}         counted
-- reserved · reserved:{tenant}     counted; + id by the time at which the reservation ends, close to a limit
-- tenant:{tenant} · ended:{tenant} · ends   open_jobs, ended jobs, mean interval between ends: read
-- body:{tenant}:{hash}             id; expires, counted from the last repeat
-- intake_paused                    read
--
-- ARGV: id, tenant, waiting jobs allowed, open jobs of the tenant allowed (0: no limit), hash of the body ('': do not
--       remember it), 1 when a client library repeats the request automatically, milliseconds that the body is
--       remembered, ended jobs of the tenant allowed (0: no limit), jobs below which a reservation is needed,
--       milliseconds that a reservation lasts
-- Returns: ok, jobs that still fit under the nearest limit | known, id of the job that the same body created
--          | queue_full · tenant_full · ended_full, count, seconds until there is probably room
--          | memory_full, used, limit | closed
local id, tenant, max_waiting, max_open = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local body, max_ended = keys.body(tenant, ARGV[5]), tonumber(ARGV[8])
if ARGV[5] ~= '' and ARGV[6] == '1' then
  local known = redis.call('GET', body)
  if known then
    redis.call('PEXPIRE', body, ARGV[7])  -- a client that waits for the job may send the request once more
    return {'known', known}
  end
end
if redis.call('EXISTS', keys.intake_paused) == 1 then return {'closed'} end

-- A repeated call must not count its own reservation.
cancel_reservation(id, tenant)
local function count_reserved(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  return redis.call('ZCARD', key)
end

local waiting = count_reserved(keys.reserved)
for _, stage in ipairs(STAGES) do waiting = waiting + count_waiting(stage) end
if waiting >= max_waiting then
  return {'queue_full', waiting, expected_wait_s(keys.ends, waiting - max_waiting + 1)}
end

local open = (tonumber(redis.call('HGET', keys.tenant(tenant), 'open_jobs')) or 0)
open = open + count_reserved(keys.tenant_reserved(tenant))
if max_open > 0 and open >= max_open then
  return {'tenant_full', open, expected_wait_s(keys.tenant(tenant), open - max_open + 1)}
end

local ended = redis.call('ZCARD', keys.ended(tenant))
if max_ended > 0 and ended >= max_ended then return {'ended_full', ended, 60} end

-- The last fifth of the memory is reserved for accepted jobs: they must be able to end.
local memory = redis.call('INFO', 'memory')
local used = tonumber(string.match(memory, 'used_memory:(%d+)'))
local limit = tonumber(string.match(memory, 'maxmemory:(%d+)'))
if limit > 0 and used > limit * 0.8 then return {'memory_full', integer(used), integer(limit)} end

if ARGV[5] ~= '' then redis.call('SET', body, id, 'PX', ARGV[7]) end
local remaining = max_waiting - waiting
if max_open > 0 then remaining = math.min(remaining, max_open - open) end
if remaining < tonumber(ARGV[9]) then
  local ends_at = integer(now + tonumber(ARGV[10]))
  for _, key in ipairs({keys.reserved, keys.tenant_reserved(tenant)}) do
    redis.call('ZADD', key, ends_at, id)
    redis.call('PEXPIRE', key, ARGV[10])
  end
end
return {'ok', remaining}
