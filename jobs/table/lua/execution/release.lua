#!lua flags=allow-oom
-- Release a claimed job: it returns to its earlier position in the queue.
-- job:{id}                     no claim; lost_leases + 1 if the release counts as a lost lease
-- leases:{stage}               - id
-- queue:{stage}:{priority} · queue:{stage}:{priority}:{tenant} · tenants:{stage}:{priority}   + id, its tenant
-- tenant:{tenant}              service: the cost so far replaces the estimate; in the generate stage the end counts it
-- poison_suspect:{worker}      deleted, if it was this job
--
-- ARGV: id, claim, 1 when it counts as a lost lease,
--       what the prepare stage has cost in seconds of a child process ('': the time since the claim)
-- Returns: ok | lost | unknown | cancel (nothing is written: end the job instead)
local id, claim = ARGV[1], ARGV[2]
local refused = refusal(id, claim)
if refused then return {refused} end
if get(id, 'sealed') ~= '' then return {'lost'} end
if get(id, 'cancel_requested') == '1' then return {'cancel'} end

if ARGV[3] == '1' then redis.call('HINCRBY', keys.job(id), 'lost_leases', 1) end
local stage = get(id, 'stage')
clear_suspect(id)
settle_charge(id, stage, stage == 'generate' and 0 or tonumber(ARGV[4]))
redis.call('HSET', keys.job(id), 'claim', '')
if stage == 'generate' then redis.call('HSET', keys.job(id), 'status', 'queued') end
redis.call('ZREM', keys.leases(stage), id)
return_to_queue(id, stage)
return {'ok'}
