-- What store/sql/locks.py asks for. Keys stay as they are: what only refers to a row may go on.

-- name: tasks
SELECT 1 FROM tasks WHERE id = ANY (?::text[]) ORDER BY seq FOR NO KEY UPDATE;

-- name: histories
SELECT 1 FROM tasks WHERE seq = ANY (?::bigint[]) ORDER BY seq FOR NO KEY UPDATE;

-- name: job
SELECT 1 FROM jobs WHERE workspace = ? AND group_name = ? AND id = ? FOR NO KEY UPDATE;

-- name: function
SELECT 1 FROM functions WHERE id = ? FOR NO KEY UPDATE;

-- name: entry
SELECT 1 FROM catalogue WHERE kind = ? AND id = ? AND workspace = ? FOR NO KEY UPDATE;

-- name: delivery
SELECT 1 FROM webhook_deliveries WHERE id = ? FOR NO KEY UPDATE;

-- name: deliveries
SELECT 1 FROM webhook_deliveries WHERE task_id = ? ORDER BY number FOR NO KEY UPDATE;

-- name: name
-- Two names that have the same hash wait for each other, and that is all.
SELECT 1 FROM pg_advisory_xact_lock(hashtextextended(?::text, 0));

-- name: shared_name
SELECT 1 FROM pg_advisory_xact_lock_shared(hashtextextended(?::text, 0));
