#!lua flags=allow-oom
-- Return a job to its queue because its lease expired, and count a lost lease. When the lost worker also ran a suspected
-- poison job, only that job's count rises. A claim that no worker has confirmed counts no lost lease: its reply was lost.
-- job:{id}                     no claim, no seal, lost_leases + 1 or unconfirmed_claims + 1
-- leases:{stage}               - id
-- queue:{stage}:{priority} · queue:{stage}:{priority}:{tenant} · tenants:{stage}:{priority}   + id, its tenant
-- tenant:{tenant}              service: the time since the claim replaces the estimate; in the generate stage, the end
--                              counts it
-- poison_suspect:{worker}      read; a lost worker's stays until it expires
-- totals                       lost:{stage} + 1
--
-- ARGV: id, the claim whose lease was seen to be expired, lost leases allowed
-- Returns: ok, lost leases | exhausted (too many lost leases: nothing is written, the keeper ends the job)
--          | skipped (another worker has the job, its lease was renewed, or it was cancelled meanwhile, in which case no
--          worker would claim it)
local MAX_UNCONFIRMED_CLAIMS = 20  -- of a job; then they count, so that it ends some day

local id, claim = ARGV[1], ARGV[2]
if refusal(id, claim) or get(id, 'cancel_requested') == '1' then return {'skipped'} end
local stage = get(id, 'stage')
local lease = tonumber(redis.call('ZSCORE', keys.leases(stage), id))
if not lease or lease > now then return {'skipped'} end

local suspect = redis.call('GET', keys.poison_suspect(get(id, 'worker')))
local lost_leases = get_number(id, 'lost_leases')
local unconfirmed = get_number(id, 'unconfirmed_claims')
if get(id, 'confirmed') ~= '1' and unconfirmed < MAX_UNCONFIRMED_CLAIMS then
  redis.call('HSET', keys.job(id), 'unconfirmed_claims', unconfirmed + 1)
elseif not suspect or suspect == id then
  lost_leases = lost_leases + 1
end
if lost_leases >= tonumber(ARGV[3]) then return {'exhausted'} end

settle_charge(id, stage, stage == 'generate' and 0 or nil)
redis.call('HSET', keys.job(id), 'claim', '', 'sealed', '', 'lost_leases', lost_leases)
if stage == 'generate' then redis.call('HSET', keys.job(id), 'status', 'queued') end
redis.call('ZREM', keys.leases(stage), id)
redis.call('HINCRBY', keys.totals, 'lost:' .. stage, 1)
return_to_queue(id, stage)
return {'ok', lost_leases}
