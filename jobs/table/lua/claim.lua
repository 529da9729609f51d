#!lua flags=allow-oom
-- Give the best waiting job of a stage to a worker, under a lease.
-- queue:{stage}:{priority}    - id
-- vtime:{stage}:{priority}    the priority's clock and pass move on
-- job:{id}                attempt + 1, claim, claimed, started
-- leases:{stage}          + id
-- deadlines               - id: it started in time · 0: it did not, and a clock that is set back does not change that
-- claim:{claim}           id, so that a repeated call gets the same job; expires
-- suspect:{worker}        id, when it has lost two workers; expires, unless the worker's heart beats
--
-- ARGV: stage, claim, worker, free KV tokens, lease in ms, newest record version known
-- Replies: ok, id, seq of the last event, now, field, value … · empty · full (the head does not fit) · newer
local stage, claim, worker = ARGV[1], ARGV[2], ARGV[3]
local room, lease, version = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local function reply(id)
  local answer = {'ok', id, last_sequence(id), whole(now)}
  for _, item in ipairs(redis.call('HGETALL', 'job:' .. id)) do answer[#answer + 1] = item end
  return answer
end

local had = redis.call('GET', 'claim:' .. claim)
if had then
  if refusal(had, claim) then return {'empty'} end
  return reply(had)
end

-- Waiting, wanted, and in time? What is not leaves the line; the keeper ends the expired.
local function is_claimable(id)
  local job = redis.call('HMGET', 'job:' .. id, 'stage', 'status', 'claim', 'sealed', 'cancel', 'deadline', 'started')
  if job[1] ~= stage or job[3] ~= '' or (job[4] or '') ~= '' or job[5] == '1' then return false end
  if job[2] ~= 'preparing' and job[2] ~= 'queued' then return false end
  if job[7] or now < tonumber(job[6]) then return true end
  redis.call('ZADD', 'deadlines', 'XX', 0, id)
  return false
end

local function is_suspect(id)
  return (tonumber(get(id, 'lost_leases')) or 0) >= SUSPECT_LOSSES
end

-- While the worker has a suspect, the others wait: for it, or for another worker. Nothing starves by that, because they
-- keep their places, before all that passes them.
local has_suspect
do
  local had = redis.call('GET', 'suspect:' .. worker)
  local row = had and redis.call('HMGET', 'job:' .. had, 'worker', 'claim', 'status')
  has_suspect = row and row[1] == worker and row[2] ~= '' and not TERMINAL[row[3]]
end

local function head(priority)
  local passed = 0
  for _ = 1, 100 do
    local first = redis.call('ZRANGE', 'queue:' .. stage .. ':' .. priority, passed, passed, 'WITHSCORES')
    if #first == 0 then return nil end
    if not is_claimable(first[1]) then
      leave_line(first[1], stage, priority)
    elseif has_suspect and is_suspect(first[1]) then
      passed = passed + 1
    else
      return first[1], tonumber(first[2])
    end
  end
end

-- The priority that had least for its weight. One that was empty starts level with those that were not.
local best
for _, priority in ipairs(PRIORITIES) do
  local id, tag = head(priority)
  if id then
    local pass = tonumber(redis.call('HGET', 'vtime:' .. stage .. ':' .. priority, 'pass')) or 0
    if not best or pass < best.pass then best = {priority = priority, id = id, tag = tag, pass = pass} end
  end
end
if not best then return {'empty'} end

local id, priority = best.id, best.priority
local key = 'job:' .. id
if (tonumber(get(id, 'v')) or 0) > version then return {'newer'} end
if (tonumber(get(id, 'required')) or 0) > room then return {'full'} end

leave_line(id, stage, priority)
local clock = 'vtime:' .. stage .. ':' .. priority
redis.call('HSET', clock,
  'v', string.format('%.6f', math.max(tonumber(redis.call('HGET', clock, 'v')) or 0, best.tag)),
  'pass', string.format('%.6f', best.pass + 1 / WEIGHTS[priority]))
for _, other in ipairs(PRIORITIES) do
  if redis.call('ZCARD', 'queue:' .. stage .. ':' .. other) == 0 then
    local idle = 'vtime:' .. stage .. ':' .. other
    local pass = tonumber(redis.call('HGET', idle, 'pass')) or 0
    if pass < best.pass then redis.call('HSET', idle, 'pass', string.format('%.6f', best.pass)) end
  end
end

if is_suspect(id) then redis.call('SET', 'suspect:' .. worker, id, 'PX', 4 * lease) end
redis.call('HINCRBY', key, 'attempt', 1)
redis.call('HSET', key, 'claim', claim, 'worker', worker, 'claimed', whole(now))
if stage == 'generate' then
  redis.call('HSET', key, 'status', 'running')
  redis.call('HSETNX', key, 'started', whole(now))
  redis.call('ZREM', 'deadlines', id)
end
redis.call('ZADD', 'leases:' .. stage, now + lease, id)
redis.call('SET', 'claim:' .. claim, id, 'PX', 4 * lease)
return reply(id)
