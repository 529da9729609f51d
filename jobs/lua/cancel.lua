#!lua flags=allow-oom
-- A client wants no answer any more.
-- job:{id}   cancel, when a worker has it: it is told with its next append or heartbeat
--
-- ARGV: id
-- Replies: asked (its worker will end it) | waiting (nobody has it: the caller ends it) | ending (its end is being
--          written) | ended | unknown
local id = ARGV[1]
local job = redis.call('HMGET', 'job:' .. id, 'status', 'claim', 'sealed')
if not job[1] then return {'unknown'} end
if TERMINAL[job[1]] then return {'ended'} end
if (job[3] or '') ~= '' then return {'ending'} end
if (job[2] or '') == '' then return {'waiting'} end
redis.call('HSET', 'job:' .. id, 'cancel', '1')
return {'asked'}
