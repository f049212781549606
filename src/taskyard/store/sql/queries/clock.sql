-- name: now
-- The database's own clock: microseconds since 1970. Every database has words of its own for it;
-- these are SQLite's.
SELECT CAST(round((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER);
