#!lua flags=allow-oom
-- A page of a tenant's jobs, newest first.
-- jobs:{tenant} · label:{tenant}:{hash}   read; members whose record is gone are dropped
--
-- ARGV: tenant, created from (ms), created before (ms), id to go on behind (or empty), at most so many,
--       statuses wanted (space-separated, or empty: all), then the hash of each label wanted
-- Replies: ok, 1 when there may be more, id to go on behind, id … · unknown (no such id to go on behind)
local tenant, from, before, after, limit = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local wanted = ' ' .. ARGV[6] .. ' '
local SCAN = 2000  -- records looked at in one call: some milliseconds

local indexes = {}
for label = 7, #ARGV do indexes[#indexes + 1] = 'label:' .. tenant .. ':' .. ARGV[label] end
if #indexes == 0 then indexes[1] = 'jobs:' .. tenant end
local base = indexes[1]

local start
if after ~= '' then
  local rank = redis.call('ZREVRANK', base, after)
  if not rank then return {'unknown'} end
  start = rank + 1
else
  start = redis.call('ZCOUNT', base, before, '+inf')
end

local function matches(id)
  for other = 2, #indexes do
    if not redis.call('ZSCORE', indexes[other], id) then return false end
  end
  return ARGV[6] == '' or string.find(wanted, ' ' .. get(id, 'status') .. ' ', 1, true)
end

local found, gone, last, scanned = {}, {}, after, 0
local more = 0
while true do
  local page = redis.call('ZREVRANGE', base, start, start + 99, 'WITHSCORES')
  for index = 1, #page, 2 do
    local id = page[index]
    if tonumber(page[index + 1]) < from then page = {} break end
    if #found == limit or scanned == SCAN then more = 1 page = {} break end
    scanned = scanned + 1
    last = id
    if redis.call('EXISTS', 'job:' .. id) == 0 then
      gone[#gone + 1] = id
    elseif matches(id) then
      found[#found + 1] = id
    end
  end
  if #page < 200 then break end
  start = start + 100
end
-- What the caller goes on behind must stay.
for _, id in ipairs(gone) do
  if id ~= last then redis.call('ZREM', base, id) end
end
return {'ok', more, last, unpack(found)}
