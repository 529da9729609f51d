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
-- delivery:{e} · deliveries:{id}  rows and the job's list: its copies, and the webhook if it asked for this event
-- deliveries:due                  + e
--
-- ARGV: id, status, error code, event data, retention in ms, retention of usage in ms,
--       tokens of the prompt, of thinking, of the answer, GPU milliseconds
-- Replies: ok | ended, status | unknown
local id, status, retention = ARGV[1], ARGV[2], tonumber(ARGV[5])
local key, present = 'job:' .. id, get(id, 'status')
if present == '' then return {'unknown'} end
if TERMINAL[present] then return {'ended', present} end

local stage, lane, tenant = get(id, 'stage'), get(id, 'lane'), get(id, 'tenant')
redis.call('HSET', key, 'status', status, 'error', ARGV[3], 'ended', whole(now), 'sealed', '')
leave_line(id, stage, lane)
redis.call('ZREM', 'leases:' .. stage, id)
redis.call('ZREM', 'deadlines', id)
redis.call('PEXPIRE', key, retention)

redis.call('HINCRBY', 'tenant:' .. tenant, 'open', -1)
local used = tonumber(ARGV[7]) + tonumber(ARGV[8]) + tonumber(ARGV[9])
if used > 0 then
  redis.call('HINCRBYFLOAT', 'tenant:' .. tenant, 'last:' .. stage .. ':' .. lane, used - tonumber(get(id, 'cost')))
end

local stream = 'stream:' .. id
redis.call('XADD', stream, whole(last_sequence(id) + 1) .. '-0', 'type', 'ended', 'data', ARGV[4])
redis.call('ZADD', 'archive', now, id)
local keep = tonumber(get(id, 'keep')) or 0
if keep > 0 and keep < retention then redis.call('ZADD', 'removals', now + keep, id) end

local usage = 'usage:' .. tenant .. ':' .. whole(math.floor(now / 86400000))
redis.call('HINCRBY', usage, status, 1)
for field, amount in pairs({input_tokens = 7, thinking_tokens = 8, answer_tokens = 9, gpu_ms = 10}) do
  redis.call('HINCRBY', usage, field, ARGV[amount])
end
redis.call('PEXPIRE', usage, ARGV[6])

local function deliver(delivery, event)
  redis.call('HSET', 'delivery:' .. delivery,
    'job', id, 'event', event, 'state', 'pending', 'attempts', 0, 'created', whole(now))
  redis.call('RPUSH', 'deliveries:' .. id, delivery)
  redis.call('PEXPIRE', 'deliveries:' .. id, retention)
  redis.call('ZADD', 'deliveries:due', now, delivery)
end
for copy = 0, (tonumber(get(id, 'copies')) or 0) - 1 do
  deliver('copy_' .. id .. '_' .. whole(copy), 'result.copy')
end
if string.find(' ' .. get(id, 'events') .. ' ', ' ' .. status .. ' ', 1, true) then
  deliver('evt_' .. id .. '_job.' .. status, 'job.' .. status)
end
return {'ok'}
