-- name: insert_task
INSERT INTO tasks (seq, id, workspace, group_name, name, state, priority, cpu_millis, memory_bytes,
                   created_at, queued_at, start_at, expires_at, schedule_id, due_at, retry_of,
                   idempotency_key, recurring, demand, spec, attempt_count, current_attempt)
SELECT * FROM unnest(
    ?::bigint[], ?::text[], ?::text[], ?::text[], ?::text[], ?::text[], ?::bigint[], ?::bigint[],
    ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::text[], ?::bigint[],
    ?::text[], ?::text[], ?::bigint[], ?::text[], ?::text[], ?::bigint[], ?::text[])
ON CONFLICT DO NOTHING;

-- name: insert_label
INSERT INTO task_labels (workspace, key, value, task_seq)
SELECT * FROM unnest(?::text[], ?::text[], ?::text[], ?::bigint[])
ON CONFLICT DO NOTHING;

-- name: append_event
-- Its seq comes twice, as elsewhere.
INSERT INTO events (task_seq, number, at, kind, attempt_id, actor, detail)
SELECT n.seq, (SELECT coalesce(max(e.number), 0) FROM events AS e WHERE e.task_seq = n.same) + n.further,
       n.at, n.kind, n.attempt_id, n.actor, n.detail
FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::text[], ?::text[], ?::text[], ?::text[])
     AS n (seq, same, further, at, kind, attempt_id, actor, detail);

-- name: insert_event
INSERT INTO events (task_seq, number, at, kind, attempt_id, actor, detail)
SELECT * FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::text[], ?::text[], ?::text[], ?::text[]);

-- name: update_state
UPDATE tasks SET state = n.state, queued_at = n.queued_at, start_at = n.start_at,
       current_attempt = n.current_attempt, finished_at = n.finished_at, reason = n.reason,
       message = n.message, failure_count = failure_count + n.failures,
       kill_requested_at = CASE WHEN n.state = 'running' THEN kill_requested_at END
FROM unnest(?::bigint[], ?::text[], ?::text[], ?::bigint[], ?::bigint[], ?::text[], ?::bigint[],
            ?::text[], ?::text[], ?::bigint[])
     AS n (seq, was, state, queued_at, start_at, current_attempt, finished_at, reason, message,
           failures)
WHERE tasks.seq = n.seq AND tasks.state = n.was;

-- name: leave_attempt
UPDATE tasks SET state = n.state, queued_at = n.queued_at, start_at = n.start_at,
       current_attempt = n.current_attempt, finished_at = n.finished_at, reason = n.reason,
       message = n.message, failure_count = failure_count + n.failures,
       kill_requested_at = CASE WHEN n.state = 'running' THEN kill_requested_at END
FROM unnest(?::bigint[], ?::text[], ?::text[], ?::bigint[], ?::bigint[], ?::text[], ?::bigint[],
            ?::text[], ?::text[], ?::bigint[], ?::text[])
     AS n (seq, was, state, queued_at, start_at, current_attempt, finished_at, reason, message,
           failures, attempt_id)
WHERE tasks.seq = n.seq AND tasks.state = n.was AND tasks.current_attempt = n.attempt_id;

-- name: delete_attempts
-- Without triggers, what is kept of output is counted here.
WITH gone AS (DELETE FROM attempts WHERE task_seq = :seq RETURNING id, workspace, output_bytes),
fewer AS (
    INSERT INTO output_total_shards (workspace, writer, stored_bytes)
    SELECT workspace, pg_backend_pid(), -sum(output_bytes)::bigint FROM gone
    WHERE output_bytes <> 0 GROUP BY workspace
    ON CONFLICT (workspace, writer) DO UPDATE
        SET stored_bytes = output_total_shards.stored_bytes + excluded.stored_bytes)
SELECT id FROM gone;

-- name: add_to_count
-- Each writer counts for itself, so that none waits for another, and every two seconds in new rows: a
-- snapshot that somebody holds open keeps all versions of a row, and every change walks past them.
INSERT INTO task_count_shards (workspace, group_name, state, total, writer)
SELECT n.*, extract(epoch FROM now())::bigint / 2 * 4194304 + pg_backend_pid()
FROM unnest(?::text[], ?::text[], ?::text[], ?::bigint[]) AS n
ON CONFLICT (workspace, group_name, state, writer)
    DO UPDATE SET total = task_count_shards.total + excluded.total;
