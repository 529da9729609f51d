#!lua flags=allow-oom
-- Remove a job that was not accepted: its client gets an error. A delayed call cannot create its record afterwards.
-- as delete.lua, and the rows of a job that waits or runs: queue, leases, deadlines; tenant:{tenant} open_jobs - 1
-- withdrawals   + id: the keeper deletes its objects
--
-- ARGV: id, milliseconds within which a late writer may appear, 1: only if it has no record
-- Returns: ok | exists (nothing is written) | ended (nothing is written: the job has a result)
--          | full (nothing is written: the keeper has too many withdrawn jobs to handle)
local MAX_WITHDRAWALS = 10000

local id = ARGV[1]
local status = get(id, 'status')
if TERMINAL[status] then return {'ended'} end
if status ~= '' and ARGV[3] == '1' then return {'exists'} end
if redis.call('ZCARD', keys.withdrawals) >= MAX_WITHDRAWALS then return {'full'} end
remove_job(id, ARGV[2])
redis.call('ZADD', keys.withdrawals, integer(now), id)
return {'ok'}
