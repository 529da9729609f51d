#!lua flags=allow-oom
-- The keeper takes a job from an owner whose lease ran out: a loss is counted. When a suspect was lost with the same
-- worker, the loss is the suspect's alone.
-- job:{id}                no owner, no seal, lost_leases + 1
-- leases:{stage}          - id
-- queue:{stage}:{priority}    + id under its old tag
-- suspect:{worker}        read; a lost worker's stays until it expires
-- totals                  lost:{stage} + 1
--
-- ARGV: id, the claim that was seen to be late, lost_leases allowed
-- Replies: ok, lost_leases | exhausted (too many lost_leases: nothing written, the keeper ends it)
--          | held (somebody has it again, or it was cancelled since it was seen: nobody would claim it)
local id, claim = ARGV[1], ARGV[2]
if refusal(id, claim) or get(id, 'cancel') == '1' then return {'skipped'} end
local stage = get(id, 'stage')
local lease = tonumber(redis.call('ZSCORE', 'leases:' .. stage, id))
if not lease or lease > now then return {'skipped'} end

local suspect = redis.call('GET', 'suspect:' .. get(id, 'worker'))
local lost_leases = tonumber(get(id, 'lost_leases')) or 0
if not suspect or suspect == id then lost_leases = lost_leases + 1 end
if lost_leases >= tonumber(ARGV[3]) then return {'exhausted'} end

redis.call('HSET', 'job:' .. id, 'claim', '', 'sealed', '', 'lost_leases', lost_leases)
if stage == 'generate' then redis.call('HSET', 'job:' .. id, 'status', 'queued') end
redis.call('ZREM', 'leases:' .. stage, id)
redis.call('HINCRBY', 'totals', 'lost:' .. stage, 1)
put_in_line(id, stage, get(id, 'priority'), get(id, 'tag'))
return {'ok', lost_leases}
