#!lua flags=allow-oom
-- Take due webhook deliveries: their score moves ahead, so that a taker who dies delays them and loses none.
-- deliveries:due    score + the time a taker has
-- deliveries:open   - e whose row is gone
-- delivery:{e}      claim
--
-- ARGV: claim, at most so many, milliseconds that the taker has
-- Replies: ok, then delivery, job, event, attempts made, milliseconds since its creation
local answer = {'ok'}
for _, delivery in ipairs(redis.call('ZRANGEBYSCORE', 'deliveries:due', '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local row = redis.call('HMGET', 'delivery:' .. delivery, 'job', 'event', 'attempts', 'created')
  if row[1] then
    redis.call('ZADD', 'deliveries:due', now + tonumber(ARGV[3]), delivery)
    redis.call('HSET', 'delivery:' .. delivery, 'claim', ARGV[1])
    for _, item in ipairs({delivery, row[1], row[2], row[3], whole(since(row[4]))}) do
      answer[#answer + 1] = item
    end
  else
    redis.call('ZREM', 'deliveries:due', delivery)
    redis.call('ZREM', 'deliveries:open', delivery)
  end
end
return answer
