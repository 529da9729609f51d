#!lua flags=allow-oom
-- A client wants no answer any more.
-- job:{id}   cancel, cancel_at: when somebody has it. Its worker is told with its next append or heartbeat; one whose
--            end is being written keeps the wish, in case that end is lost
--
-- ARGV: id
-- Replies: asked (its worker will end it) | waiting (nobody has it: the caller ends it) | ending (its end is being
--          written) | ended | unknown
local id = ARGV[1]
local job = redis.call('HMGET', 'job:' .. id, 'status', 'claim', 'sealed')
if not job[1] then return {'unknown'} end
if TERMINAL[job[1]] then return {'ended'} end
if (job[2] or '') == '' then return {'unclaimed'} end
redis.call('HSET', 'job:' .. id, 'cancel', '1')
redis.call('HSETNX', 'job:' .. id, 'cancel_at', whole(now))
return {(job[3] or '') ~= '' and 'ending' or 'requested'}
