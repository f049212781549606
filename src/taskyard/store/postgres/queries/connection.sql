-- name: positions
-- Positions for so many new tasks.
SELECT nextval('task_seq') FROM generate_series(1, ?::bigint);
