#!lua flags=allow-oom
-- List a page of a tenant's jobs, newest first.
-- jobs:{tenant} · label:{tenant}:{hash}   read; members without a record are removed
--
-- ARGV: tenant, created from (ms), created before (ms or +inf), id after which the page starts ('': the newest),
--       page size, wanted statuses (space-separated; '': all), then the hash of each wanted label
-- Returns: ok, 1 when there may be more, id after which the next page starts, id …
--          | unknown (the id after which the page starts is not in the list)
local tenant, from, before, after, limit = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local wanted = ' ' .. ARGV[6] .. ' '
local MAX_SCANNED = 2000  -- records per call; takes a few milliseconds

local lists = {}
for label = 7, #ARGV do lists[#lists + 1] = keys.label(tenant, ARGV[label]) end
if #lists == 0 then lists[1] = keys.jobs(tenant) end
local base = lists[1]

local start
if after ~= '' then
  local rank = redis.call('ZREVRANK', base, after)
  if not rank then return {'unknown'} end
  start = rank + 1
else
  start = redis.call('ZCOUNT', base, before, '+inf')
end

local function matches(id)
  for other = 2, #lists do
    if not redis.call('ZSCORE', lists[other], id) then return false end
  end
  return ARGV[6] == '' or string.find(wanted, ' ' .. get(id, 'status') .. ' ', 1, true)
end

local found, missing, last, scanned, more = {}, {}, after, 0, 0
while true do
  local page = redis.call('ZREVRANGE', base, start, start + 99, 'WITHSCORES')
  for index = 1, #page, 2 do
    local id = page[index]
    if tonumber(page[index + 1]) < from then page = {} break end
    if #found == limit or scanned == MAX_SCANNED then more = 1 page = {} break end
    scanned = scanned + 1
    last = id
    if redis.call('EXISTS', keys.job(id)) == 0 then
      missing[#missing + 1] = id
    elseif matches(id) then
      found[#found + 1] = id
    end
  end
  if #page < 200 then break end
  start = start + 100
end
-- The id after which the next page starts must stay in the list.
for _, id in ipairs(missing) do
  if id ~= last then redis.call('ZREM', base, id) end
end
return {'ok', more, last, unpack(found)}
