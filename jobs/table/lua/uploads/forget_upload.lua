#!lua flags=allow-oom
-- Forget an upload whose objects are deleted.
-- uploads:due · open_uploads:{tenant}   - id
--
-- ARGV: tenant, id
-- Returns: ok
redis.call('ZREM', keys.uploads_due, ARGV[1] .. '/' .. ARGV[2])
redis.call('HDEL', keys.open_uploads(ARGV[1]), ARGV[2])
return {'ok'}
