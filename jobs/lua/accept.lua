#!lua
-- Create the record of a job whose request object is durable, and put it in line for preparing.
-- job:{id}                created if absent
-- queue:prepare:{lane}    + id
-- tenant:{t}              its tag moves on
-- deadlines               + id by deadline
-- jobs:{tenant}           + id by creation
--
-- ARGV: id, tenant, lane, record version, milliseconds until it expires, callback events
local id, tenant, lane = ARGV[1], ARGV[2], ARGV[3]
local key = 'job:' .. id
if redis.call('EXISTS', key) == 1 then return {'exists'} end

local deadline = now + tonumber(ARGV[5])
redis.call('HSET', key,
  'v', ARGV[4], 'status', 'preparing', 'stage', 'prepare', 'tenant', tenant, 'lane', lane,
  'attempt', 0, 'claim', '', 'losses', 0, 'created', whole(now), 'deadline', whole(deadline), 'events', ARGV[6])
enqueue(id, tenant, 'prepare', lane, 1)
redis.call('ZADD', 'deadlines', deadline, id)
redis.call('ZADD', 'jobs:' .. tenant, now, id)
return {'ok'}
