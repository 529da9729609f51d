#!lua
-- Note a batch that has not ended.
-- batches:open · open_batches:{tenant}   + the batch, by creation time
--
-- ARGV: tenant, id, created (milliseconds since 1970), open batches of the tenant allowed; 0: no limit
-- Returns: ok | too_many, open batches
local tenant, id, limit = ARGV[1], ARGV[2], tonumber(ARGV[4])
local open = keys.open_batches(tenant)
if not redis.call('ZSCORE', open, id) then
  local count = redis.call('ZCARD', open)
  if limit > 0 and count >= limit then return {'too_many', count} end
  redis.call('ZADD', open, ARGV[3], id)
end
redis.call('ZADD', keys.batches_open, ARGV[3], tenant .. '/' .. id)
return {'ok'}
