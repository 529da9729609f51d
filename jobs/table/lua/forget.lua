#!lua flags=allow-oom
-- Remove an ended job from the table: its objects are gone already.
-- job:{id} · stream:{id} · deliveries:{id}   gone
-- delivery:{e} · delivery:{e}:attempts       gone; deliveries:due, deliveries:open - e
-- jobs:{tenant} · archive · removals         - id (labels forget by themselves)
--
-- ARGV: id
-- Replies: ok | running (it has not ended: nothing written)
local id = ARGV[1]
local status = get(id, 'status')
if status ~= '' and not TERMINAL[status] then return {'running'} end
for _, delivery in ipairs(redis.call('LRANGE', 'deliveries:' .. id, 0, -1)) do
  redis.call('ZREM', 'deliveries:due', delivery)
  redis.call('ZREM', 'deliveries:open', delivery)
  redis.call('DEL', 'delivery:' .. delivery, 'delivery:' .. delivery .. ':attempts')
end
redis.call('ZREM', 'jobs:' .. get(id, 'tenant'), id)
redis.call('ZREM', 'archive', id)
redis.call('ZREM', 'removals', id)
redis.call('DEL', 'job:' .. id, 'stream:' .. id, 'deliveries:' .. id)
return {'ok'}
