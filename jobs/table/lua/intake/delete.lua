#!lua flags=allow-oom
-- Delete an ended job whose objects are already deleted.
-- job:{id} · stream:{id} · job_deliveries:{id}            deleted
-- delivery:{delivery} · delivery:{delivery}:attempts      deleted; deliveries:due:{tenant}, deliveries:open - delivery
-- jobs:{tenant} · label:{tenant}:{hash} · ended:{tenant} · unarchived · removals                   - id
-- removed                                                 + id
--
-- ARGV: id, milliseconds within which a late writer may appear
-- Returns: ok | running (it has not ended: nothing is written)
local id = ARGV[1]
local status = get(id, 'status')
if status ~= '' and not TERMINAL[status] then return {'running'} end
remove_job(id, ARGV[2])
return {'ok'}
