#!lua flags=allow-oom
-- Record that a worker has received the reply to its claim. A claim whose reply was lost costs the job nothing.
-- job:{id}   confirmed
--
-- ARGV: id, claim
-- Returns: ok | cancel | lost | unknown
local id = ARGV[1]
local refused = refusal(id, ARGV[2])
if refused then return {refused} end
redis.call('HSET', keys.job(id), 'confirmed', '1')
return {get(id, 'cancel_requested') == '1' and 'cancel' or 'ok'}
