#!lua flags=allow-oom
-- How far an owner is with its job's inputs, and whether to go on.
-- job:{id}   progress
--
-- ARGV: id, claim, progress: done/all
-- Replies: ok | cancel | lost | unknown
local id = ARGV[1]
local refused = refusal(id, ARGV[2])
if refused then return {refused} end
redis.call('HSET', 'job:' .. id, 'progress', ARGV[3])
return {get(id, 'cancel') == '1' and 'cancel' or 'ok'}
