#!lua flags=allow-oom
-- Restore the attempts of a delivery that was settled before the table was lost.
-- delivery:{delivery}:attempts   created unless it exists; expires
--
-- ARGV: delivery, retention in ms, then each attempt as JSON
-- Returns: ok
local key = keys.delivery_attempts(ARGV[1])
if #ARGV > 2 and redis.call('EXISTS', key) == 0 then
  redis.call('RPUSH', key, unpack(ARGV, 3))
  redis.call('PEXPIRE', key, ARGV[2])
end
return {'ok'}
