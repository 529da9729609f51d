#!lua flags=allow-oom
-- The last of the three steps: what results/<id>.json says becomes the job's status, event and delivery.
-- No fence: the object is the proof, and whoever has read it may finish.
-- job:{id}                        status, ended, error; expires
-- queue, leases, deadlines        - id
-- tenant:{t}                      its tag is corrected from the estimate to what was used
-- stream:{id}                     + ended; expires
-- delivery:{e} · deliveries:{id}  the webhook's row and the job's list, when the job asked for this event
-- deliveries:due                  + e
--
-- ARGV: id, status, error code, event data, tokens used, retention in ms, stream retention in ms
-- Replies: ok | ended, status | unknown
local id, status, retention = ARGV[1], ARGV[2], tonumber(ARGV[6])
local key, present = 'job:' .. id, get(id, 'status')
if present == '' then return {'unknown'} end
if TERMINAL[present] then return {'ended', present} end

local stage, lane, tenant = get(id, 'stage'), get(id, 'lane'), get(id, 'tenant')
redis.call('HSET', key, 'status', status, 'error', ARGV[3], 'ended', whole(now), 'sealed', '')
leave_line(id, stage, lane)
redis.call('ZREM', 'leases:' .. stage, id)
redis.call('ZREM', 'deadlines', id)
redis.call('PEXPIRE', key, retention)

local used = tonumber(ARGV[5])
if used > 0 then
  redis.call('HINCRBYFLOAT', 'tenant:' .. tenant, 'last:' .. stage .. ':' .. lane, used - tonumber(get(id, 'cost')))
end

local stream = 'stream:' .. id
redis.call('XADD', stream, whole(last_sequence(id) + 1) .. '-0', 'type', 'ended', 'data', ARGV[4])
redis.call('PEXPIRE', stream, ARGV[7])

local event = 'job.' .. status
if string.find(' ' .. get(id, 'events') .. ' ', ' ' .. status .. ' ', 1, true) then
  local delivery = 'evt_' .. id .. '_' .. event
  redis.call('HSET', 'delivery:' .. delivery,
    'job', id, 'event', event, 'state', 'pending', 'attempts', 0, 'created', whole(now))
  redis.call('RPUSH', 'deliveries:' .. id, delivery)
  redis.call('PEXPIRE', 'deliveries:' .. id, retention)
  redis.call('ZADD', 'deliveries:due', now, delivery)
end
return {'ok'}
