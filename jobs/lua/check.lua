#!lua flags=no-writes
-- May one more job come in?
-- queue:{stage}:{lane}   counted
--
-- ARGV: waiting jobs allowed
local waiting = 0
for _, stage in ipairs({'prepare', 'gpu'}) do
  for _, lane in ipairs(LANES) do
    waiting = waiting + redis.call('ZCARD', 'queue:' .. stage .. ':' .. lane)
  end
end
if waiting >= tonumber(ARGV[1]) then return {'queue_full', waiting} end

-- The last fifth of the memory belongs to the jobs that are in: they must be able to end.
local memory = redis.call('INFO', 'memory')
local used = tonumber(string.match(memory, 'used_memory:(%d+)'))
local limit = tonumber(string.match(memory, 'maxmemory:(%d+)'))
if limit > 0 and used > limit * 0.8 then return {'memory_full', whole(used), whole(limit)} end
return {'ok', waiting}
