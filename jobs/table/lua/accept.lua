#!lua
-- Create the record of a job whose request object is durable, and put it in line for preparing.
-- job:{id}                created if absent
-- queue:prepare:{priority}    + id
-- tenant:{t}              its tag moves on; open + 1
-- arrivals:prepare        + 1
-- deadlines               + id by deadline
-- jobs:{tenant}           + id by creation
-- label:{tenant}:{hash}   + id by creation, for each pair of its metadata
--
-- ARGV: id, tenant, priority, record version, milliseconds until it expires, callback events, copies of its result to send,
--       milliseconds that it is kept behind its end (0: the service's default),
--       milliseconds that an index needs to remember a job at the most, lease in ms, then the hash of each label
-- Replies: ok | exists, then 1 when another doorbell is wanted, its place in line (empty: it does not wait);
--          behind ok its times created and deadline, behind exists the fields and values of its record
local id, tenant, priority = ARGV[1], ARGV[2], ARGV[3]
local key = 'job:' .. id

local function reply(word, stage, line, more)
  local rank = redis.call('ZRANK', 'queue:' .. stage .. ':' .. line, id)
  local bell = wants_bell('prepare', tonumber(ARGV[10])) and 1 or 0
  return {word, bell, rank or '', unpack(more)}
end

if redis.call('EXISTS', key) == 1 then
  return reply('exists', get(id, 'stage'), get(id, 'priority'), redis.call('HGETALL', key))
end

local deadline = now + tonumber(ARGV[5])
redis.call('HSET', key,
  'v', ARGV[4], 'status', 'preparing', 'stage', 'prepare', 'tenant', tenant, 'priority', priority,
  'attempt', 0, 'claim', '', 'lost_leases', 0, 'created', whole(now), 'deadline', whole(deadline), 'events', ARGV[6], 'copies', ARGV[7],
  'keep', ARGV[8])
enqueue(id, tenant, 'prepare', priority, 1)
arrived('prepare')
redis.call('ZADD', 'deadlines', deadline, id)
redis.call('HINCRBY', 'tenant:' .. tenant, 'open', 1)

list_job(id, tenant, now, ARGV[9], 11, #ARGV)
return reply('ok', 'prepare', priority, {whole(now), whole(deadline)})
