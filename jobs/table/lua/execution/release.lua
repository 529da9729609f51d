#!lua flags=allow-oom
-- Release a claimed job: it returns to its earlier position in the queue.
-- A release after an error of a server counts when another job has passed the stage since this job was claimed first or
-- released last: then the server answers, and the cause is the job. While no job passes, all releases are free. One
-- counts always if the worker has found that the object store fails for an object of this job only.
-- job:{id}                     no claim; lost_leases + 1 if the release counts as a lost lease; after an error
--                              error_releases + 1 if it counts, and successes_seen
-- leases:{stage}               - id
-- queue:{stage}:{priority} · queue:{stage}:{priority}:{tenant} · tenants:{stage}:{priority}   + id, its tenant
-- delayed:{stage}              + id after an error, instead of the tenant's queue: the job is not the next one at once
-- tenant:{tenant}              service: the cost so far replaces the estimate; in the generate stage the end counts it
-- poison_suspect:{worker}      deleted, if it was this job
--
-- ARGV: id, claim, cause (stop: the worker stops | loss: it stops, perhaps because of the job | error: a server answers
--       with errors | object: the object store answers, but fails for an object), what the prepare stage has cost in seconds of a child process ('': the time since the claim),
--       errors that count allowed, shortest and longest delay after an error in ms
-- Returns: ok, 1 when other jobs have passed the stage meanwhile | lost | unknown
--          | cancel · exhausted (nothing is written: end the job instead)
local id, claim, cause, cost = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local refused = refusal(id, claim)
if refused then return {refused} end
if get(id, 'sealed') ~= '' then return {'lost'} end
if get(id, 'cancel_requested') == '1' then return {'cancel'} end

local stage, delay = get(id, 'stage'), 0
local is_error = cause == 'error' or cause == 'object'
local others_pass = cause == 'object' or count_successes(stage) > get_number(id, 'successes_seen')
if cause == 'loss' then
  redis.call('HINCRBY', keys.job(id), 'lost_leases', 1)
elseif is_error then
  local errors = get_number(id, 'error_releases') + (others_pass and 1 or 0)
  if errors > tonumber(ARGV[5]) then return {'exhausted'} end
  delay = math.min(tonumber(ARGV[6]) * 2 ^ math.max(0, errors - 1), tonumber(ARGV[7]))
  redis.call('HSET', keys.job(id), 'error_releases', errors, 'successes_seen', count_successes(stage))
end

-- Jobs that fail quickly must not come first again and again because they cost little.
if stage == 'prepare' then
  settle_charge(id, stage, is_error and math.max(1, since(get(id, 'claimed_ms')) / 1000) or cost)
else
  settle_charge(id, stage, is_error and get_number(id, 'charged') or 0)
end
clear_suspect(id)
redis.call('HSET', keys.job(id), 'claim', '')
if stage == 'generate' then redis.call('HSET', keys.job(id), 'status', 'queued') end
redis.call('ZREM', keys.leases(stage), id)
return_to_queue(id, stage, delay)
return {'ok', others_pass and 1 or 0}
