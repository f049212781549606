-- name: output_totals
-- Bytes of output that are kept, by workspace.
SELECT workspace, sum(stored_bytes) FROM {{kept.output_totals}} GROUP BY workspace;

-- name: output_of_task
-- Bytes of output that are kept of the ended attempts at one task.
SELECT coalesce(sum(output_bytes), 0) FROM attempts
WHERE task_seq = (SELECT seq FROM tasks WHERE id = :task_id);

-- name: known_attempts
-- Those of these attempts that there are; the ids come as a JSON list.
SELECT id FROM attempts WHERE id IN (SELECT value FROM json_each(:ids));
