#!lua flags=no-writes
-- Return whether a stage needs another wake-up message; see needs_wakeup in prelude.lua.
--
-- ARGV: stage, lease in ms: a worker without a heartbeat for that long does not count, a worker that is full
--       or '', the tenant whose job was added or ''
-- Returns: ok | no
return {needs_wakeup(ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]) and 'ok' or 'no'}
