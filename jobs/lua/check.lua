#!lua flags=no-writes
-- May one more job come in?
-- queue:{stage}:{lane}   counted
-- tenant:{t}             open: its jobs that have not ended
--
-- ARGV: waiting jobs allowed, tenant, its jobs allowed (0: any number)
-- Replies: ok · queue_full, waiting · tenant_full, open · memory_full, used, limit
local waiting = 0
for _, stage in ipairs({'prepare', 'gpu'}) do
  for _, lane in ipairs(LANES) do
    waiting = waiting + redis.call('ZCARD', 'queue:' .. stage .. ':' .. lane)
  end
end
if waiting >= tonumber(ARGV[1]) then return {'queue_full', waiting} end

local open = tonumber(redis.call('HGET', 'tenant:' .. ARGV[2], 'open')) or 0
if tonumber(ARGV[3]) > 0 and open >= tonumber(ARGV[3]) then return {'tenant_full', open} end

-- The last fifth of the memory belongs to the jobs that are in: they must be able to end.
local memory = redis.call('INFO', 'memory')
local used = tonumber(string.match(memory, 'used_memory:(%d+)'))
local limit = tonumber(string.match(memory, 'maxmemory:(%d+)'))
if limit > 0 and used > limit * 0.8 then return {'memory_full', whole(used), whole(limit)} end
return {'ok', waiting}
