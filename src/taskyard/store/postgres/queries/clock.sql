-- name: now
-- Not that of the transaction: one that waits for a lock has to see how late it is by then.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
