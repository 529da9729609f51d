#!lua flags=allow-oom
-- Keep an upload until a later time; never until an earlier one.
-- uploads:due             the later time
-- open_uploads:{tenant}   - id, when a job uses it
--
-- ARGV: tenant, id, keep until (milliseconds since 1970), 1 when a job uses it
-- Returns: ok
redis.call('ZADD', keys.uploads_due, 'GT', ARGV[3], ARGV[1] .. '/' .. ARGV[2])
if ARGV[4] == '1' then redis.call('HDEL', keys.open_uploads(ARGV[1]), ARGV[2]) end
return {'ok'}
