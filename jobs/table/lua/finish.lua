#!lua flags=allow-oom
-- The last of the three steps: what results/<id>.json says becomes the job's status, event and delivery.
-- No fence: the object is the proof, and whoever has read it may finish.
-- job:{id}                        status, ended, error; expires
-- queue, leases, deadlines        - id
-- tenant:{t}                      its tag is corrected from the estimate to what was used; open - 1
-- stream:{id}                     + ended
-- archive                         + id: the keeper moves its stream into the object store
-- removals                        + id by the end of its retention, when that is shorter than the service's
-- usage:{tenant}:{day}            jobs by status, tokens by kind, GPU time
-- totals                          jobs by status and code, tokens by kind
-- pace:generate                        what a completed one took
-- delivery:{e} · deliveries:{id}  rows and the job's list: its copies, and the webhook if it asked for this event
-- deliveries:due                  + e, unless it is settled
-- deliveries:open                 + e by its creation, while it is not settled
-- suspect:{worker}                gone, unless the job may have killed the worker
--
-- ARGV: id, status, error code, event data, retention in ms, retention of usage in ms,
--       tokens of the prompt, of thinking, of the answer, GPU milliseconds,
--       when it ended (ms; 0: now), 1 when its events are archived already,
--       then delivery, state of each one that is settled already
-- Replies: ok | ended, status | unknown
local id, status, retention = ARGV[1], ARGV[2], tonumber(ARGV[5])
local key, present = 'job:' .. id, get(id, 'status')
if present == '' then return {'unknown'} end
if TERMINAL[present] then return {'ended', present} end

local stage, priority, tenant = get(id, 'stage'), get(id, 'priority'), get(id, 'tenant')
local ended = tonumber(ARGV[11]) or 0
if ended == 0 then ended = now end
local expires = math.max(1, ended + retention - now)
redis.call('HSET', key, 'status', status, 'error', ARGV[3], 'ended', whole(ended), 'sealed', '')
leave_line(id, stage, priority)
redis.call('ZREM', 'leases:' .. stage, id)
redis.call('ZREM', 'deadlines', id)
redis.call('PEXPIRE', key, whole(expires))
if ARGV[3] ~= 'worker_lost' then clear_suspect(id) end

redis.call('HINCRBY', 'tenant:' .. tenant, 'open', -1)
local used = tonumber(ARGV[7]) + tonumber(ARGV[8]) + tonumber(ARGV[9])
if used > 0 then
  redis.call('HINCRBYFLOAT', 'tenant:' .. tenant, 'last:' .. stage .. ':' .. priority, used - (tonumber(get(id, 'cost')) or used))
end

local stream = 'stream:' .. id
if ARGV[12] ~= '1' then
  redis.call('XADD', stream, whole(last_sequence(id) + 1) .. '-0', 'type', 'ended', 'data', ARGV[4])
  redis.call('ZADD', 'archive', now, id)
end
local keep = tonumber(get(id, 'keep')) or 0
if keep > 0 and keep < retention then redis.call('ZADD', 'removals', ended + keep, id) end

local usage = 'usage:' .. tenant .. ':' .. whole(math.floor(ended / 86400000))
redis.call('HINCRBY', usage, status, 1)
for field, amount in pairs({input_tokens = 7, thinking_tokens = 8, answer_tokens = 9, gpu_ms = 10}) do
  redis.call('HINCRBY', usage, field, ARGV[amount])
end
redis.call('PEXPIRE', usage, ARGV[6])

local settled = {}
for index = 13, #ARGV, 2 do settled[ARGV[index]] = ARGV[index + 1] end
if ARGV[11] == '0' then
  redis.call('HINCRBY', 'totals', status .. ':' .. ARGV[3], 1)
  for kind, amount in pairs({input = 7, thinking = 8, answer = 9}) do
    redis.call('HINCRBY', 'totals', 'tokens:' .. kind, ARGV[amount])
  end
  if status == 'completed' then took(id, 'generate') end
end

local function deliver(delivery, event)
  redis.call('HSET', 'delivery:' .. delivery,
    'job', id, 'event', event, 'state', settled[delivery] or 'pending', 'attempts', 0, 'created', whole(ended))
  redis.call('RPUSH', 'deliveries:' .. id, delivery)
  redis.call('PEXPIRE', 'deliveries:' .. id, whole(expires))
  if settled[delivery] then
    redis.call('PEXPIRE', 'delivery:' .. delivery, whole(expires))
  else
    redis.call('ZADD', 'deliveries:due', now, delivery)
    redis.call('ZADD', 'deliveries:open', ended, delivery)
  end
end
for copy = 0, (tonumber(get(id, 'copies')) or 0) - 1 do
  deliver('copy_' .. id .. '_' .. whole(copy), 'result.copy')
end
if string.find(' ' .. get(id, 'events') .. ' ', ' ' .. status .. ' ', 1, true) then
  deliver('evt_' .. id .. '_' .. status, 'job.' .. status)
end
return {'ok'}
