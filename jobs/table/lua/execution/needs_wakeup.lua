#!lua flags=no-writes
-- Return whether a stage needs another wake-up message; see needs_wakeup in prelude.lua.
--
-- ARGV: stage, lease in ms: a worker without a heartbeat for that long does not count, then a worker that is full
-- Returns: ok | no
return {needs_wakeup(ARGV[1], tonumber(ARGV[2]), ARGV[3]) and 'ok' or 'no'}
