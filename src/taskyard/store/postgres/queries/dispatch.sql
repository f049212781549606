-- name: ready_behind
-- Two ranges of the index, so that what lies before the position is not walked through.
SELECT {ready_task} FROM (
    SELECT * FROM (
        SELECT {ready_task} FROM tasks
        WHERE workspace = :workspace AND group_name = :group_name AND state = 'queued'
          AND priority = :priority AND seq > :seq
        ORDER BY seq LIMIT :limit) AS same
    UNION ALL
    SELECT * FROM (
        SELECT {ready_task} FROM tasks
        WHERE workspace = :workspace AND group_name = :group_name AND state = 'queued'
          AND priority < :priority
        ORDER BY priority DESC, seq LIMIT :limit) AS lower
) AS behind
ORDER BY priority DESC, seq LIMIT :limit;

-- name: renew_workers
UPDATE workers SET beat_at = :now, lease_expires_at = ({{clock.now}}) + :lease
WHERE incarnation IN (SELECT json_array_elements_text(CAST(:incarnations AS text)::json))
  AND id IN (SELECT json_array_elements_text(CAST(:ids AS text)::json))
  AND state != 'lost'
  AND NOT (plane_id = '@joined' AND EXISTS (
      SELECT 1 FROM worker_tokens WHERE name = workers.id AND revoked_at IS NOT NULL
  ))
RETURNING id, incarnation;

-- name: place_task
-- All at once, in the order they come in. The worker's row is locked, so that nobody loses the worker
-- until this is committed. The state is asked for in a way that keeps the index of all that are
-- queued from being walked through for one.
UPDATE tasks SET state = 'running', current_attempt = n.attempt_id,
       attempt_count = attempt_count + 1, start_at = NULL, reason = NULL, message = NULL
FROM unnest(?::text[], ?::bigint[], ?::text[], ?::bigint[], ?::text[], ?::text[])
     AS n (attempt_id, seq, task_id, now, worker_id, incarnation)
WHERE tasks.seq = n.seq AND tasks.id = n.task_id AND coalesce(tasks.state, '') = 'queued'
  AND (tasks.expires_at IS NULL OR tasks.expires_at > n.now)
  AND EXISTS (SELECT 1 FROM workers
              WHERE workers.id = n.worker_id AND workers.incarnation = n.incarnation
                AND workers.state = 'ready' FOR SHARE)
RETURNING {tasks.task};

-- name: worker_ready
SELECT 1 FROM workers WHERE id = ? AND incarnation = ? AND state = 'ready' FOR SHARE;

-- name: insert_attempt
INSERT INTO attempts (id, task_seq, task_id, workspace, number, worker_id, incarnation, lease_token,
                      lease_expires_at, state, assigned_at, resources)
SELECT * FROM unnest(
    ?::text[], ?::bigint[], ?::text[], ?::text[], ?::bigint[], ?::text[], ?::text[], ?::text[],
    ?::bigint[], ?::text[], ?::bigint[], ?::text[]);

-- name: attempts_with_tasks
-- Locked, in an order that all keep: what is decided by these rows holds until it is committed.
-- Both kinds of rows: of one that is not locked, an older version may be seen than of the other.
SELECT coalesce(json_agg(json_build_array(
       lease_token, attempt_state, number, finished_at, started_at,
       seq, task_id, workspace, group_name, state, priority, current_attempt,
       kill_requested_at, failure_count, expires_at, spec, id, worker_id))::text, '[]')
FROM (SELECT a.lease_token, a.state AS attempt_state, a.number, a.finished_at, a.started_at,
             t.seq, t.id AS task_id, t.workspace, t.group_name, t.state, t.priority,
             t.current_attempt, t.kill_requested_at, t.failure_count, t.expires_at, t.spec, a.id,
             a.worker_id
      FROM attempts AS a JOIN tasks AS t ON t.seq = a.task_seq
      WHERE a.id = ANY (ARRAY(SELECT jsonb_array_elements_text(readable_json(?))))
      ORDER BY t.seq FOR UPDATE) AS wanted;

-- name: end_attempt
-- Unended attempts are asked for by state: by ``finished_at`` all of them would be walked through, with
-- those that ended lately.
UPDATE attempts SET state = n.state, started_at = coalesce(attempts.started_at, n.started_at),
       finished_at = n.finished_at, exit_code = n.exit_code, signal = n.signal,
       reason = n.reason, message = n.message, outcome = n.outcome
FROM unnest(?::text[], ?::text[], ?::text[], ?::bigint[], ?::bigint[], ?::bigint[], ?::text[],
            ?::text[], ?::text[], ?::text[])
     AS n (id, lease_token, state, started_at, finished_at, exit_code, signal, reason, message,
           outcome)
WHERE attempts.id = n.id AND attempts.state IN ('assigned', 'running')
  AND attempts.lease_token = n.lease_token;

-- name: due_tasks
-- Those that nobody else is changing at this moment.
SELECT seq, id, workspace, group_name, state, priority, start_at, expires_at, recurring, spec
FROM tasks WHERE state IN ('scheduled', 'retrying') AND start_at <= :now
ORDER BY start_at, seq LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED;

-- name: expired_tasks
-- Those that nobody else is changing at this moment.
SELECT seq, id, workspace, group_name, state, priority, spec, expires_at
FROM tasks
WHERE expires_at IS NOT NULL AND state IN ('scheduled', 'queued', 'retrying') AND expires_at <= :now
ORDER BY expires_at, seq LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED;

-- name: prunable
-- Those that nobody else is removing at this moment.
SELECT seq FROM tasks
WHERE workspace = :workspace AND finished_at IS NOT NULL AND finished_at < :older_than
ORDER BY finished_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED;
