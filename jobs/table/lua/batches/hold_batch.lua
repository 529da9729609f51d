#!lua flags=allow-oom
-- Begin or renew the lease of a batch.
-- batch_lease:{id}   the runner that holds it; expires
--
-- ARGV: id, runner, milliseconds; 0 ends the lease
-- Returns: ok | held: by another runner
local lease = keys.batch_lease(ARGV[1])
local holder = redis.call('GET', lease)
if holder and holder ~= ARGV[2] then return {'held'} end
if ARGV[3] == '0' then
  redis.call('DEL', lease)
else
  redis.call('SET', lease, ARGV[2], 'PX', ARGV[3])
end
return {'ok'}
