#!lua flags=allow-oom
-- List a page of a tenant's jobs, newest first. A call looks at a bounded number of jobs, so a page may be short, or empty,
-- although more jobs follow.
-- jobs:{tenant} · label:{tenant}:{hash}   read; members without a record are removed
--
-- ARGV: tenant, created from (ms), created before (ms or +inf), id after which the page starts ('': the newest),
--       page size, wanted statuses (space-separated; '': all), then the hash of each wanted label
-- Returns: ok, 1 when there may be more, id after which the next page starts, id …
--          | unknown (the id after which the page starts is not in the tenant's list)
local tenant, from, before, after, limit = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local wanted = ' ' .. ARGV[6] .. ' '
local MAX_LOOKUPS = 600  -- of a status or a label in each call; takes less than a millisecond
local CHUNK = 100

-- The shortest list is read; its jobs are looked up in the others.
local lists = {}
for label = 7, #ARGV do lists[#lists + 1] = keys.label(tenant, ARGV[label]) end
if #lists == 0 then lists[1] = keys.jobs(tenant) end
local sizes = {}
for _, list in ipairs(lists) do sizes[list] = redis.call('ZCARD', list) end
table.sort(lists, function(one, other) return sizes[one] < sizes[other] end)
local base = lists[1]

-- The page starts behind a time, and within one millisecond behind an id: the lists differ from page to page.
local start, after_ms = nil, nil
if after ~= '' then
  after_ms = redis.call('ZSCORE', keys.jobs(tenant), after)
  if not after_ms then return {'unknown'} end
  start = redis.call('ZCOUNT', base, '(' .. after_ms, '+inf')
  after_ms = tonumber(after_ms)
else
  start = redis.call('ZCOUNT', base, before, '+inf')
end

local lookups = 0
local function look_up(command, key, member)
  lookups = lookups + 1
  return redis.call(command, key, member)
end

-- Whether a job is wanted; nil when it has no record.
local function matches(id)
  local status = look_up('HGET', keys.job(id), 'status')
  if not status then return nil end
  if ARGV[6] ~= '' and not string.find(wanted, ' ' .. status .. ' ', 1, true) then return false end
  for other = 2, #lists do
    if not look_up('ZSCORE', lists[other], id) then return false end
  end
  return true
end

local found, missing, last, more = {}, {}, after, 0
local is_done = false
while not is_done do
  local page = redis.call('ZREVRANGE', base, start, start + CHUNK - 1, 'WITHSCORES')
  is_done = #page < 2 * CHUNK
  for index = 1, #page, 2 do
    local id, created = page[index], tonumber(page[index + 1])
    if created < from then is_done = true break end
    if not (created == after_ms and id >= after) then
      if #found == limit or lookups >= MAX_LOOKUPS then more = 1 is_done = true break end
      local is_match = matches(id)
      last = id
      if is_match == nil then missing[#missing + 1] = id elseif is_match then found[#found + 1] = id end
    end
  end
  start = start + CHUNK
end
-- The id after which the next page starts must stay in the tenant's list.
for _, id in ipairs(missing) do
  if id ~= last then
    redis.call('ZREM', base, id)
    redis.call('ZREM', keys.jobs(tenant), id)
  end
end
return {'ok', more, last, unpack(found)}
