#!lua flags=allow-oom
-- One worker's sign of life: renews its leases and says what became of its jobs.
-- pace:{stage}     slots, of a ready one
-- workers          the worker by time of its last beat
-- worker:{w}       what it is and has free
-- leases:{stage}   its jobs, renewed: an expired lease too, while nobody has taken it
-- suspect:{w}      lives as long as the worker
--
-- ARGV: worker, stage, state: starting | ready | draining | gone, slots, free slots, lease in ms, free KV
--       tokens, tokens a second, then id, claim of each job
-- Replies: ok, then for each job ok | cancel | lost | unknown
local worker, stage, lease = ARGV[1], ARGV[2], tonumber(ARGV[6])
if ARGV[3] == 'gone' then
  redis.call('ZREM', 'workers', worker)
  redis.call('DEL', 'worker:' .. worker, 'suspect:' .. worker)
  return {'ok'}
end
redis.call('ZADD', 'workers', now, worker)
redis.call('HSET', 'worker:' .. worker, 'stage', stage, 'state', ARGV[3], 'slots', ARGV[4], 'free', ARGV[5],
  'kv_free', ARGV[7], 'tokens_per_s', ARGV[8])
redis.call('PEXPIRE', 'worker:' .. worker, 4 * lease)
redis.call('PEXPIRE', 'suspect:' .. worker, 4 * lease)
if ARGV[3] == 'ready' then redis.call('HSET', 'pace:' .. stage, 'slots', ARGV[4]) end

local answer = {'ok'}
for index = 9, #ARGV, 2 do
  local id = ARGV[index]
  local word = refusal(id, ARGV[index + 1])
  if not word then
    redis.call('ZADD', 'leases:' .. get(id, 'stage'), now + lease, id)
    word = get(id, 'cancel') == '1' and 'cancel' or 'ok'
  end
  answer[#answer + 1] = word
end
return answer
