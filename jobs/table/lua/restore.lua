#!lua flags=allow-oom
-- Create the record of a job anew, out of its objects, when the table has lost it.
-- job:{id}                created if absent
-- queue:{stage}:{priority}    + id, when it waits
-- deadlines               + id by deadline, when it waits
-- leases:{stage}          + id, when it is sealed: whoever restores it finishes it, or the keeper does
-- tenant:{t}              open + 1
-- jobs:{tenant} · label:{tenant}:{hash}   + id by creation
-- stream:{id}             one that was prepared may have been followed: readers hear that it starts anew, behind any
--                         number that they can have
--
-- ARGV: id, tokens that it counts for in its line, milliseconds that an index remembers it, lease in ms,
--       number of labels, the hash of each, then field, value … of its record
-- Replies: ok | exists
local id, key = ARGV[1], 'job:' .. ARGV[1]
if redis.call('EXISTS', key) == 1 then return {'exists'} end

local labels = tonumber(ARGV[5])
redis.call('HSET', key, unpack(ARGV, 6 + labels))
local tenant, stage, priority = get(id, 'tenant'), get(id, 'stage'), get(id, 'priority')
local created = tonumber(get(id, 'created'))
redis.call('HINCRBY', 'tenant:' .. tenant, 'open', 1)
list_job(id, tenant, created, ARGV[3], 6, 5 + labels)

if get(id, 'sealed') ~= '' then
  redis.call('ZADD', 'leases:' .. stage, now + tonumber(ARGV[4]), id)
  return {'ok'}
end
enqueue(id, tenant, stage, priority, tonumber(ARGV[2]))
redis.call('ZADD', 'deadlines', get(id, 'deadline'), id)
if stage == 'generate' then
  -- A stream has fewer events than milliseconds.
  redis.call('XADD', 'stream:' .. id, whole(math.max(1, now - created)) .. '-0',
    'type', 'started', 'data', '{"attempt":0,"revision":"","restarted":true}')
end
return {'ok'}
