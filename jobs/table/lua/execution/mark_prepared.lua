#!lua flags=allow-oom
-- Move a job whose inputs are ready from the prepare stage to the queue of the generate stage.
-- job:{id}                      status queued, stage generate, no claim
-- leases:prepare                - id
-- queue:generate:{priority} · queue:generate:{priority}:{tenant} · tenants:generate:{priority}   + id, its tenant
-- tenant:{tenant}               service: the cost replaces the estimate; sequence + 1
-- poison_suspect:{worker}       deleted, if it was this job
-- durations:prepare             of this job; successes + 1
-- arrivals:generate             + 1
--
-- ARGV: id, claim, folder of prepared.json, KV tokens that the job needs,
--       what the stage has cost in seconds of a decoder ('': the time since the claim),
--       how long the job has taken one of the worker's slots in ms ('': the time since the claim)
-- Returns: ok | lost | unknown | cancel (nothing is written: end the job)
local id, claim, folder, required_tokens = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if get(id, 'prepared_folder') == folder then return {'ok'} end
local refused = refusal(id, claim)
if refused then return {refused} end
if get(id, 'stage') ~= 'prepare' or get(id, 'sealed') ~= '' then return {'lost'} end
if get(id, 'cancel_requested') == '1' then return {'cancel'} end

clear_suspect(id)
settle_charge(id, 'prepare', tonumber(ARGV[5]), true)
redis.call('HSET', keys.job(id),
  'status', 'queued', 'stage', 'generate', 'claim', '', 'attempt', 0,
  'prepared_folder', folder, 'required_tokens', required_tokens, 'prepared_ms', integer(now))
redis.call('HDEL', keys.job(id), 'successes_seen', 'error_releases')
redis.call('ZREM', keys.leases('prepare'), id)
record_success('prepare')
record_duration(id, 'prepare', tonumber(ARGV[6]))
record_arrival('generate')
enqueue(id, get(id, 'tenant'), 'generate', get(id, 'priority'))
return {'ok'}
