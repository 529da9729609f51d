#!lua flags=no-writes
-- Is another doorbell wanted? Yes while jobs wait and fewer bells lie there than workers have slots free,
-- at least one: a bell too many costs a look, a bell too few costs the keeper's next round.
-- queue:{stage}:{lane}   counted
-- {stage}                Celery's list of the stage's queue, counted
-- workers · worker:{w}   free slots of those that beat lately
--
-- ARGV: stage, milliseconds after which a worker counts as gone
local stage = ARGV[1]
local waiting = 0
for _, lane in ipairs(LANES) do
  waiting = waiting + redis.call('ZCARD', 'queue:' .. stage .. ':' .. lane)
end
if waiting == 0 then return {'no'} end

local free = 0
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', 'workers', now - tonumber(ARGV[2]), '+inf')) do
  local row = redis.call('HMGET', 'worker:' .. worker, 'stage', 'free', 'state')
  if row[1] == stage and row[3] == 'ready' then free = free + tonumber(row[2]) end
end
local bells = redis.call('LLEN', stage)
if bells < math.max(1, math.min(free, waiting)) then return {'ok'} end
return {'no'}
