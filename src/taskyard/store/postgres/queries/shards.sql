-- Adds up what writers have counted, each in rows of its own; what is being written now is left out.

-- name: fold_counts
WITH taken AS (
    DELETE FROM task_count_shards WHERE (workspace, group_name, state, writer) IN (
        SELECT workspace, group_name, state, writer FROM task_count_shards
        ORDER BY workspace, group_name, state, writer LIMIT 5000 FOR UPDATE SKIP LOCKED)
    RETURNING workspace, group_name, state, total)
INSERT INTO task_counts (workspace, group_name, state, total)
SELECT workspace, group_name, state, sum(total)::bigint FROM taken
GROUP BY workspace, group_name, state ORDER BY workspace, group_name, state
ON CONFLICT (workspace, group_name, state)
    DO UPDATE SET total = task_counts.total + excluded.total;

-- name: drop_zero_counts
DELETE FROM task_counts WHERE total = 0;

-- name: fold_output
WITH taken AS (
    DELETE FROM output_total_shards WHERE (workspace, writer) IN (
        SELECT workspace, writer FROM output_total_shards
        ORDER BY workspace, writer LIMIT 5000 FOR UPDATE SKIP LOCKED)
    RETURNING workspace, stored_bytes)
INSERT INTO output_totals (workspace, stored_bytes)
SELECT workspace, sum(stored_bytes)::bigint FROM taken GROUP BY workspace ORDER BY workspace
ON CONFLICT (workspace) DO UPDATE SET stored_bytes = output_totals.stored_bytes + excluded.stored_bytes;

-- name: add_output
-- What attempts that end keep of their output: there are no triggers here that count it.
INSERT INTO output_total_shards (workspace, writer, stored_bytes)
SELECT n.workspace, pg_backend_pid(), n.bytes FROM unnest(?::text[], ?::bigint[]) AS n (workspace, bytes)
ON CONFLICT (workspace, writer) DO UPDATE
    SET stored_bytes = output_total_shards.stored_bytes + excluded.stored_bytes;
