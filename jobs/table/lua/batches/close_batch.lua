#!lua flags=allow-oom
-- Forget a batch that has ended.
-- batches:open · open_batches:{tenant} · batch_lease:{id}   - the batch
--
-- ARGV: tenant, id
-- Returns: ok
redis.call('ZREM', keys.batches_open, ARGV[1] .. '/' .. ARGV[2])
redis.call('ZREM', keys.open_batches(ARGV[1]), ARGV[2])
redis.call('DEL', keys.batch_lease(ARGV[2]))
return {'ok'}
