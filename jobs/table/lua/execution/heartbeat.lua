#!lua flags=allow-oom
-- Record a worker's heartbeat: renew the leases of its jobs and return what became of each.
-- workers                   the worker by the time of this heartbeat
-- worker:{worker}           its state and load
-- job:{id}                  confirmed: the worker has the reply to its claim
-- leases:{stage}            its jobs, renewed; also an expired lease that the keeper has not taken yet
-- poison_suspect:{worker}   expiry renewed
-- durations:{stage}         slots, of a ready worker
--
-- ARGV: worker, stage, state (starting | ready | draining | gone), slots, free slots, lease in ms, free KV tokens,
--       tokens per second, then id, claim of each job
-- Returns: ok, then for each job ok | cancel | lost | unknown
local worker, stage, state, lease = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[6])
if state == 'gone' then
  redis.call('ZREM', keys.workers, worker)
  redis.call('DEL', keys.worker(worker), keys.poison_suspect(worker))
  return {'ok'}
end
redis.call('ZADD', keys.workers, now, worker)
redis.call('HSET', keys.worker(worker), 'stage', stage, 'state', state, 'slots', ARGV[4], 'free', ARGV[5],
  'kv_free_tokens', ARGV[7], 'tokens_per_s', ARGV[8])
redis.call('PEXPIRE', keys.worker(worker), 4 * lease)
redis.call('PEXPIRE', keys.poison_suspect(worker), 4 * lease)
if state == 'ready' then redis.call('HSET', keys.durations(stage), 'slots', ARGV[4]) end

local answer = {'ok'}
for index = 9, #ARGV, 2 do
  local id = ARGV[index]
  local signal = refusal(id, ARGV[index + 1])
  if not signal then
    redis.call('ZADD', keys.leases(get(id, 'stage')), now + lease, id)
    redis.call('HSET', keys.job(id), 'confirmed', '1')
    signal = get(id, 'cancel_requested') == '1' and 'cancel' or 'ok'
  end
  answer[#answer + 1] = signal
end
return answer
