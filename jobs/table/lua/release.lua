#!lua flags=allow-oom
-- An owner hands its job back: in line again at its old place.
-- job:{id}                no owner; lost_leases + 1 if it counts as one
-- leases:{stage}          - id
-- queue:{stage}:{priority}    + id under its old tag
-- suspect:{worker}        gone, if it was the job
--
-- ARGV: id, claim, 1 when it counts as a loss
-- Replies: ok | lost | unknown | cancel (nothing written: it is to be ended, not handed on)
local id, claim = ARGV[1], ARGV[2]
local refused = refusal(id, claim)
if refused then return {refused} end
if get(id, 'sealed') ~= '' then return {'lost'} end
if get(id, 'cancel') == '1' then return {'cancel'} end

if ARGV[3] == '1' then redis.call('HINCRBY', 'job:' .. id, 'lost_leases', 1) end
local stage = get(id, 'stage')
clear_suspect(id)
redis.call('HSET', 'job:' .. id, 'claim', '')
if stage == 'generate' then redis.call('HSET', 'job:' .. id, 'status', 'queued') end
redis.call('ZREM', 'leases:' .. stage, id)
put_in_line(id, stage, get(id, 'priority'), get(id, 'tag'))
return {'ok'}
