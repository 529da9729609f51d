#!lua
-- Create the record of a job whose request object is durable, and queue it for the prepare stage.
-- job:{id}                     created unless it exists
-- queue:prepare:{priority} · queue:prepare:{priority}:{tenant} · tenants:prepare:{priority}   + id, its tenant
-- tenant:{tenant}              open_jobs + 1, sequence + 1
-- arrivals:prepare             + 1
-- deadlines                    + id by its deadline
-- jobs:{tenant}                + id by creation time
-- label:{tenant}:{hash}        + id by creation time, for each pair of its metadata
-- labels:{id}                  hashes of its metadata
-- reserved · reserved:{tenant}   - id
-- removed                      read
-- ended:{tenant}               trimmed to its bound: the oldest ended jobs leave Redis
--
-- ARGV: id, tenant, priority, record version, milliseconds until it expires, statuses that its callback asks for
--       (space-separated), number of result copies to upload, its own retention in ms (0: the service's default),
--       milliseconds that a list remembers a job, lease in ms, ended jobs of the tenant that Redis keeps,
--       then the hash of each label
-- Returns: removed (the job was deleted or withdrawn)
--          | ok | exists, then 1 when a wake-up is needed, the job's position in its queue ('' when it does not wait);
--          after ok: created_ms, deadline_ms; after exists: the fields and values of the record
local TRIMMED = 5  -- ended jobs that a call looks at: more than it adds

local id, tenant, priority = ARGV[1], ARGV[2], ARGV[3]

local function reply(word, stage, queue_priority, more)
  local rank = position(id, stage, queue_priority, tenants_in(stage, queue_priority))
  local wakeup = needs_wakeup('prepare', tonumber(ARGV[10]), '', tenant) and 1 or 0
  return {word, wakeup, rank or '', unpack(more)}
end

if is_removed(id) then return {'removed'} end
if redis.call('EXISTS', keys.job(id)) == 1 then
  return reply('exists', get(id, 'stage'), get(id, 'priority'), redis.call('HGETALL', keys.job(id)))
end

local deadline = now + tonumber(ARGV[5])
redis.call('HSET', keys.job(id),
  'version', ARGV[4], 'status', 'preparing', 'stage', 'prepare', 'tenant', tenant, 'priority', priority,
  'attempt', 0, 'claim', '', 'lost_leases', 0, 'created_ms', integer(now), 'deadline_ms', integer(deadline),
  'callback_events', ARGV[6], 'result_copies', ARGV[7], 'retention_ms', ARGV[8])
enqueue(id, tenant, 'prepare', priority)
record_arrival('prepare')
redis.call('ZADD', keys.deadlines, deadline, id)
if redis.call('HINCRBY', keys.tenant(tenant), 'open_jobs', 1) == 1 then
  redis.call('HSET', keys.tenant(tenant), 'busy_since_ms', integer(now))
end
cancel_reservation(id, tenant)

add_to_lists(id, tenant, now, ARGV[9], 12, #ARGV)
trim_ended(tenant, tonumber(ARGV[11]), TRIMMED)
return reply('ok', 'prepare', priority, {integer(now), integer(deadline)})
