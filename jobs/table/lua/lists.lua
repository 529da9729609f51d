-- The lists of a tenant's jobs, and the bound on its ended jobs; follows fair_queue.lua in every script.

-- Keep a key for at least so many ms.
local function extend_expiry(key, ms)
  if redis.call('PTTL', key) < tonumber(ms) then redis.call('PEXPIRE', key, ms) end
end

-- The lists that contain a job: of all jobs, and of those with one pair of metadata.
local function lists_of(id, tenant)
  local lists = {keys.jobs(tenant)}
  for hash in string.gmatch(redis.call('GET', keys.job_labels(id)) or '', '%S+') do
    lists[#lists + 1] = keys.label(tenant, hash)
  end
  return lists
end

-- Add a job to its tenant's lists; the hashes of its metadata are in ARGV. It stays there as long as its record exists.
-- max_age: milliseconds after which a list to which no job is added has lost all of its jobs
local function add_to_lists(id, tenant, created_ms, max_age, first_label, last_label)
  if first_label <= last_label then
    redis.call('SET', keys.job_labels(id), table.concat(ARGV, ' ', first_label, last_label))
  end
  for _, list in ipairs(lists_of(id, tenant)) do
    redis.call('ZADD', list, created_ms, id)
    extend_expiry(list, max_age)
  end
end

local function remove_from_lists(id, tenant)
  for _, list in ipairs(lists_of(id, tenant)) do redis.call('ZREM', list, id) end
  redis.call('DEL', keys.job_labels(id))
end

local DAY_MS = 86400000

-- Remember when the record of an ended job expires. Its labels are needed a little longer, to remove it from its lists.
local function record_expiry(id, tenant, expires_in)
  for _, list in ipairs(lists_of(id, tenant)) do extend_expiry(list, expires_in + DAY_MS) end
  redis.call('PEXPIRE', keys.job_labels(id), expires_in + DAY_MS)
  redis.call('ZADD', keys.ended(tenant), now + expires_in, id)
  redis.call('ZADD', keys.expiries, 'LT', now + expires_in, tenant)
end

local function has_open_delivery(id)
  for _, delivery in ipairs(redis.call('LRANGE', keys.job_deliveries(id), 0, -1)) do
    if redis.call('ZSCORE', keys.deliveries_open, delivery) then return true end
  end
  return false
end

-- Delete the rows of an ended job that may leave Redis: the object store has all of it.
local function forget_ended(id, tenant)
  for _, delivery in ipairs(redis.call('LRANGE', keys.job_deliveries(id), 0, -1)) do
    redis.call('DEL', keys.delivery(delivery), keys.delivery_attempts(delivery))
  end
  remove_from_lists(id, tenant)
  redis.call('ZREM', keys.ended(tenant), id)
  redis.call('DEL', keys.job(id), keys.stream(id), keys.job_deliveries(id))
end

-- Forget ended jobs of a tenant: those whose record has expired, and the oldest ones above a bound. The latter stay while
-- Redis alone has their events, or while a delivery needs them.
-- limit: the largest number of jobs to look at
local function trim_ended(tenant, max_ended, limit)
  local ended = keys.ended(tenant)
  local surplus = redis.call('ZCARD', ended) - max_ended
  local rows = redis.call('ZRANGE', ended, 0, limit - 1, 'WITHSCORES')
  for index = 1, #rows, 2 do
    local id, is_expired = rows[index], tonumber(rows[index + 1]) <= now
    if not is_expired and surplus <= 0 then return end
    if is_expired then redis.call('ZREM', keys.unarchived, id) end
    local is_delivered = not has_open_delivery(id)
    if is_delivered and not redis.call('ZSCORE', keys.unarchived, id) then
      forget_ended(id, tenant)
      if not is_expired then redis.call('HINCRBY', keys.tenant(tenant), 'forgotten', 1) end
      surplus = surplus - 1
    elseif is_expired then
      remove_from_lists(id, tenant)
      redis.call('ZREM', ended, id)
      redis.call('DEL', keys.job(id), keys.stream(id))
      surplus = surplus - 1
    end
  end
end
