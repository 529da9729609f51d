#!lua flags=allow-oom
-- Move an overdue member of a sorted set of times ahead: its work failed, and it must not delay the members behind it.
-- leases:{stage} · deadlines · unarchived · removals   its time, unless it is not overdue any more
--
-- ARGV: key, member, milliseconds
-- Returns: ok
local at = tonumber(redis.call('ZSCORE', ARGV[1], ARGV[2]))
if at and at <= now then redis.call('ZADD', ARGV[1], integer(now + tonumber(ARGV[3])), ARGV[2]) end
return {'ok'}
