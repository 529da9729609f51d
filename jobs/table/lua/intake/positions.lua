#!lua flags=no-writes
-- Estimate how many jobs of the same priority start before each of some jobs; see position in fair_queue.lua.
-- queue:{stage}:{priority} · queue:{stage}:{priority}:{tenant} · tenants:{stage}:{priority} · tenant:{tenant}   read
--
-- ARGV: id …
-- Returns: ok, position of each job ('' when it does not wait)
local answer, tenants = {'ok'}, {}
for _, id in ipairs(ARGV) do
  local job = redis.call('HMGET', keys.job(id), 'stage', 'priority', 'claim')
  local found
  if job[1] and job[3] == '' then
    local queue = keys.queue(job[1], job[2])
    tenants[queue] = tenants[queue] or tenants_in(job[1], job[2])
    found = position(id, job[1], job[2], tenants[queue])
  end
  answer[#answer + 1] = found or ''
end
return answer
