#!lua flags=allow-oom
-- Cancel the reservation of a job that is not accepted.
-- reserved · reserved:{tenant}   - id
--
-- ARGV: id, tenant
-- Returns: ok
cancel_reservation(ARGV[1], ARGV[2])
return {'ok'}
