#!lua flags=allow-oom
-- Create the record of a job from its objects, after the table has lost it.
-- job:{id}                     created unless it exists
-- queue:{stage}:{priority} · queue:{stage}:{priority}:{tenant} · tenants:{stage}:{priority}   + id, its tenant, when it waits
-- deadlines                    + id by its deadline, when it waits
-- leases:{stage}               + id, when it is sealed: the caller finishes it, or else the keeper does
-- tenant:{tenant}              open_jobs + 1
-- removed                      read
-- ended:{tenant}               trimmed to its bound
-- jobs:{tenant} · label:{tenant}:{hash}   + id by creation time
-- stream:{id}                  + started, when it was prepared: clients may have read its lost events. The event says that
--                              the stream restarts, with a higher number than any that they can have read
--
-- ARGV: id, milliseconds that a list is kept, lease in ms, ended jobs of the tenant that Redis keeps,
--       number of labels, the hash of each, then field, value … of its record
-- Returns: ok | exists | removed (the job was deleted or withdrawn meanwhile)
local TRIMMED = 5  -- ended jobs that a call looks at: more than it adds

local id = ARGV[1]
if is_removed(id) then return {'removed'} end
if redis.call('EXISTS', keys.job(id)) == 1 then return {'exists'} end

local labels = tonumber(ARGV[5])
redis.call('HSET', keys.job(id), unpack(ARGV, 6 + labels))
local tenant, stage, priority = get(id, 'tenant'), get(id, 'stage'), get(id, 'priority')
local created = tonumber(get(id, 'created_ms'))
redis.call('HINCRBY', keys.tenant(tenant), 'open_jobs', 1)
add_to_lists(id, tenant, created, ARGV[2], 6, 5 + labels)
trim_ended(tenant, tonumber(ARGV[4]), TRIMMED)

if get(id, 'sealed') ~= '' then
  redis.call('ZADD', keys.leases(stage), now + tonumber(ARGV[3]), id)
  return {'ok'}
end
enqueue(id, tenant, stage, priority)
redis.call('ZADD', keys.deadlines, get(id, 'deadline_ms'), id)
if stage == 'generate' then
  -- A stream has fewer events than the job is milliseconds old.
  redis.call('XADD', keys.stream(id), integer(math.max(1, now - created)) .. '-0',
    'type', 'started', 'data', '{"attempt":0,"revision":"","restarted":true}')
end
return {'ok'}
