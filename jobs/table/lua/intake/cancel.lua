#!lua flags=allow-oom
-- Request the cancellation of a job.
-- job:{id}   cancel_requested, cancel_requested_ms: when the job is claimed. Its worker learns it with the next append
--            or heartbeat. A sealed job keeps the request, in case its seal expires
--
-- ARGV: id
-- Returns: requested (its worker will end it) | unclaimed (no worker has it: the caller ends it)
--          | ending (it is sealed: its end is being written) | ended | unknown
local id = ARGV[1]
local job = redis.call('HMGET', keys.job(id), 'status', 'claim', 'sealed')
if not job[1] then return {'unknown'} end
if TERMINAL[job[1]] then return {'ended'} end
if (job[2] or '') == '' then return {'unclaimed'} end
redis.call('HSET', keys.job(id), 'cancel_requested', '1')
redis.call('HSETNX', keys.job(id), 'cancel_requested_ms', integer(now))
return {(job[3] or '') ~= '' and 'ending' or 'requested'}
