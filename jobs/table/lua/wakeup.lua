#!lua flags=no-writes
-- Is another doorbell wanted? See wants_bell.
--
-- ARGV: stage, lease in ms: after it a worker counts as gone
-- Replies: ok | no
return {wants_bell(ARGV[1], tonumber(ARGV[2])) and 'ok' or 'no'}
