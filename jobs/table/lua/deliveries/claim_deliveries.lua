#!lua flags=allow-oom
-- Claim the deliveries that are due. Their due time moves ahead, so that a keeper that dies delays them and loses none.
-- deliveries:due         due time + duration of a claim
-- deliveries:open        - deliveries without a row
-- delivery:{delivery}    claim
--
-- ARGV: claim, the largest number to claim, duration of the claim in ms
-- Returns: ok, then delivery, job, event, attempts so far, age in ms of each
local answer = {'ok'}
for _, delivery in ipairs(redis.call('ZRANGEBYSCORE', keys.deliveries_due, '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local row = redis.call('HMGET', keys.delivery(delivery), 'job', 'event', 'attempts', 'created_ms')
  if row[1] then
    redis.call('ZADD', keys.deliveries_due, now + tonumber(ARGV[3]), delivery)
    redis.call('HSET', keys.delivery(delivery), 'claim', ARGV[1])
    for _, item in ipairs({delivery, row[1], row[2], row[3], integer(since(row[4]))}) do
      answer[#answer + 1] = item
    end
  else
    redis.call('ZREM', keys.deliveries_due, delivery)
    redis.call('ZREM', keys.deliveries_open, delivery)
  end
end
return answer
