#!lua flags=allow-oom
-- Note which call waits for a job, or read it. When the client of that call leaves, the job is cancelled; when the
-- client of an earlier call leaves, it goes on: its client library has sent the request again.
-- job:{id}   follower
--
-- ARGV: id, id of the call ('': only read)
-- Returns: ok, id of the call that waits, or '' | unknown
local id, call = ARGV[1], ARGV[2]
if get(id, 'status') == '' then return {'unknown'} end
if call ~= '' then redis.call('HSET', keys.job(id), 'follower', call) end
return {'ok', get(id, 'follower')}
