#!lua flags=allow-oom
-- May one more job come in, and is it a new one?
-- queue:{stage}:{priority}   counted
-- tenant:{t}             open: its jobs that have not ended
-- body:{t}:{hash}        id; expires
-- closed                 set by an operator who drains the service
--
-- ARGV: id, tenant, waiting jobs allowed, the tenant's jobs allowed (0: any number), hash of the body (empty: it is not
--       to be remembered), 1 when a client library repeats it by itself, milliseconds that it is remembered
-- Replies: ok, jobs up to the nearest limit · known, id (of the job that the same body made) · queue_full, waiting · tenant_full, open
--          · memory_full, used, limit · closed
local id, tenant, allowed, body = ARGV[1], ARGV[2], tonumber(ARGV[4]), 'body:' .. ARGV[2] .. ':' .. ARGV[5]
if ARGV[5] ~= '' and ARGV[6] == '1' then
  local known = redis.call('GET', body)
  if known then return {'known', known} end
end

if redis.call('EXISTS', 'closed') == 1 then return {'closed'} end
local waiting = 0
for _, stage in ipairs({'prepare', 'generate'}) do waiting = waiting + count_waiting(stage) end
if waiting >= tonumber(ARGV[3]) then return {'queue_full', waiting} end

local open = tonumber(redis.call('HGET', 'tenant:' .. tenant, 'open')) or 0
if allowed > 0 and open >= allowed then return {'tenant_full', open} end

-- The last fifth of the memory belongs to the jobs that are in: they must be able to end.
local memory = redis.call('INFO', 'memory')
local used = tonumber(string.match(memory, 'used_memory:(%d+)'))
local limit = tonumber(string.match(memory, 'maxmemory:(%d+)'))
if limit > 0 and used > limit * 0.8 then return {'memory_full', whole(used), whole(limit)} end

if ARGV[5] ~= '' then redis.call('SET', body, id, 'PX', ARGV[7]) end
local room = tonumber(ARGV[3]) - waiting
if allowed > 0 then room = math.min(room, allowed - open) end
return {'ok', room}
