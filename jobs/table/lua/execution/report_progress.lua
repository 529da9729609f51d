#!lua flags=allow-oom
-- Record how many inputs of a job are ready, and return whether the worker may continue.
-- job:{id}   progress
--
-- ARGV: id, claim, progress as done/total
-- Returns: ok | cancel | lost | unknown
local id = ARGV[1]
local refused = refusal(id, ARGV[2])
if refused then return {refused} end
redis.call('HSET', keys.job(id), 'progress', ARGV[3])
return {get(id, 'cancel_requested') == '1' and 'cancel' or 'ok'}
