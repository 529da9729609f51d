#!lua flags=no-writes
-- List the members of a sorted set of times that are not later than now.
--
-- ARGV: key (leases:{stage}, deadlines, unarchived, removals, removed, withdrawals or uploads:due), the largest number
--       to return
-- Returns: ok, id …
local answer = {'ok'}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', ARGV[1], '-inf', now, 'LIMIT', 0, ARGV[2])) do
  answer[#answer + 1] = id
end
return answer
