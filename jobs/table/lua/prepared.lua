#!lua flags=allow-oom
-- A job's inputs are ready: from the prepare stage into the line of the generate stage.
-- job:{id}             status queued, stage gpu, no owner
-- leases:prepare       - id
-- queue:generate:{priority}     + id
-- tenant:{t}           its tag moves on
-- suspect:{worker}     gone, if it was the job
-- pace:prepare         what it took
-- arrivals:generate         + 1
--
-- ARGV: id, claim, folder of prepared.json, KV tokens that it needs
-- Replies: ok | lost | unknown | cancel (nothing written: it is to be ended)
local id, claim, folder, need = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if get(id, 'prepared') == folder then return {'ok'} end
local refused = refusal(id, claim)
if refused then return {refused} end
if get(id, 'stage') ~= 'prepare' or get(id, 'sealed') ~= '' then return {'lost'} end
if get(id, 'cancel') == '1' then return {'cancel'} end

clear_suspect(id)
redis.call('HSET', 'job:' .. id,
  'status', 'queued', 'stage', 'generate', 'claim', '', 'attempt', 0,
  'prepared', folder, 'required', need, 'prepared_at', whole(now))
redis.call('ZREM', 'leases:prepare', id)
took(id, 'prepare')
arrived('generate')
enqueue(id, get(id, 'tenant'), 'generate', get(id, 'priority'), need)
return {'ok'}
