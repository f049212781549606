-- name: last_seq
-- Where the order of acceptance continues.
SELECT coalesce(max(seq), 0) FROM tasks;
