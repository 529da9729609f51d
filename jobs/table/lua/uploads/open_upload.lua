#!lua
-- Count a new upload of a tenant that no job uses yet.
-- open_uploads:{tenant}   its size, under its id
-- uploads:due             when the keeper looks at it
--
-- ARGV: tenant, id, bytes, open uploads allowed, bytes of open uploads allowed, milliseconds until the keeper looks at it
-- Returns: ok | too_many, open uploads | too_large, bytes of the open uploads
local tenant, id, bytes = ARGV[1], ARGV[2], tonumber(ARGV[3])
local open = keys.open_uploads(tenant)
if redis.call('HEXISTS', open, id) == 0 then
  if redis.call('HLEN', open) >= tonumber(ARGV[4]) then return {'too_many', redis.call('HLEN', open)} end
  local total = 0
  for _, size in ipairs(redis.call('HVALS', open)) do total = total + tonumber(size) end
  if total + bytes > tonumber(ARGV[5]) then return {'too_large', integer(total)} end
  redis.call('HSET', open, id, integer(bytes))
  redis.call('ZADD', keys.uploads_due, integer(now + tonumber(ARGV[6])), tenant .. '/' .. id)
end
return {'ok'}
