#!lua flags=allow-oom
-- Check whether one more job may be accepted, and whether a repeated request body has created one already.
-- queue:{stage}:{priority}   counted
-- tenant:{tenant}            open_jobs, read
-- body:{tenant}:{hash}       id; expires
-- intake_paused              read
--
-- ARGV: id, tenant, waiting jobs allowed, open jobs of the tenant allowed (0: no limit), hash of the body ('': do not
--       remember it), 1 when a client library repeats the request automatically, milliseconds that the body is remembered
-- Returns: ok, jobs that still fit under the nearest limit | known, id of the job that the same body created
--          | queue_full, waiting | tenant_full, open jobs | memory_full, used, limit | closed
local id, tenant, max_open, body = ARGV[1], ARGV[2], tonumber(ARGV[4]), keys.body(ARGV[2], ARGV[5])
if ARGV[5] ~= '' and ARGV[6] == '1' then
  local known = redis.call('GET', body)
  if known then return {'known', known} end
end

if redis.call('EXISTS', keys.intake_paused) == 1 then return {'closed'} end
local waiting = 0
for _, stage in ipairs(STAGES) do waiting = waiting + count_waiting(stage) end
if waiting >= tonumber(ARGV[3]) then return {'queue_full', waiting} end

local open = tonumber(redis.call('HGET', keys.tenant(tenant), 'open_jobs')) or 0
if max_open > 0 and open >= max_open then return {'tenant_full', open} end

-- The last fifth of the memory is reserved for accepted jobs: they must be able to end.
local memory = redis.call('INFO', 'memory')
local used = tonumber(string.match(memory, 'used_memory:(%d+)'))
local limit = tonumber(string.match(memory, 'maxmemory:(%d+)'))
if limit > 0 and used > limit * 0.8 then return {'memory_full', integer(used), integer(limit)} end

if ARGV[5] ~= '' then redis.call('SET', body, id, 'PX', ARGV[7]) end
local remaining = tonumber(ARGV[3]) - waiting
if max_open > 0 then remaining = math.min(remaining, max_open - open) end
return {'ok', remaining}
