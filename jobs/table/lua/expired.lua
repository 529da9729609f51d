#!lua flags=no-writes
-- What is overdue in a schedule that this clock rules.
-- leases:{stage} · deadlines   read
--
-- ARGV: key, at most so many
-- Replies: ok, id …
local answer = {'ok'}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', ARGV[1], '-inf', now, 'LIMIT', 0, ARGV[2])) do
  answer[#answer + 1] = id
end
return answer
