-- name: insert_task
-- A new task, unless its id, its key or its firing is taken. Positional, as many are bound at once.
INSERT INTO tasks (seq, id, workspace, group_name, name, state, priority, cpu_millis, memory_bytes,
                   created_at, queued_at, start_at, expires_at, schedule_id, due_at, retry_of,
                   idempotency_key, recurring, demand, spec, attempt_count, current_attempt)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: append_event
-- One more line of a task's history; its seq is bound twice, then how many lines on from the last
-- one. Positional, as many are bound at once.
INSERT INTO events (task_seq, number, at, kind, attempt_id, actor, detail)
VALUES (?, (SELECT coalesce(max(number), 0) FROM events WHERE task_seq = ?) + ?, ?, ?, ?, ?, ?);

-- name: insert_event
-- The same with a number that is known.
INSERT INTO events (task_seq, number, at, kind, attempt_id, actor, detail)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: insert_label
INSERT INTO task_labels (workspace, key, value, task_seq) VALUES (?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: task_by_key
-- The task an idempotency key stands for.
SELECT id, state, seq FROM tasks WHERE workspace = :workspace AND idempotency_key = :key;

-- name: task_by_id
SELECT {task}
FROM tasks WHERE id = :id;

-- name: task_by_seq
SELECT {task}
FROM tasks WHERE seq = :seq;

-- name: names_of
-- What a task is filed under, and called.
SELECT group_name, name FROM tasks WHERE seq = ?;

-- name: attempts_of_task
SELECT {attempt}
FROM attempts WHERE task_seq = :seq ORDER BY number;

-- name: time_of_attempts
-- How long those that have ended ran, added up; in microseconds.
SELECT sum(CASE WHEN finished_at > started_at THEN finished_at - started_at ELSE 0 END)
FROM attempts WHERE task_seq = :seq AND finished_at IS NOT NULL AND started_at IS NOT NULL;

-- name: attempt_by_id
SELECT {attempt}
FROM attempts WHERE id = :id;

-- name: attempts_unended
-- Of all workers.
SELECT {attempt}
FROM attempts WHERE finished_at IS NULL;

-- name: attempts_unended_of
-- Of one worker.
SELECT {attempt}
FROM attempts WHERE finished_at IS NULL AND worker_id = :worker_id;

-- name: events_of_task
SELECT number, kind, at, attempt_id, actor, detail
FROM events WHERE task_seq = :seq AND number > :after ORDER BY number LIMIT :limit;

-- name: folded_output
SELECT data FROM folded_output WHERE attempt_id = :attempt_id AND stream = :stream;

-- name: counts_of_workspace
SELECT state, sum(total) FROM {{kept.task_counts}} WHERE workspace = :workspace GROUP BY state;

-- name: counts_of_group
SELECT state, sum(total) FROM {{kept.task_counts}}
WHERE workspace = :workspace AND group_name = :group_name GROUP BY state;

-- name: ahead
-- How many queued tasks of a group go before one, counted up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM tasks
    WHERE workspace = :workspace AND group_name = :group_name AND state = 'queued'
      AND (priority > :priority OR (priority = :priority AND seq < :seq))
    LIMIT :limit) AS before;

-- name: update_state
-- The one statement that changes a task's state; the old state is its guard. Positional, as many
-- are bound at once: seq, the old state, the new one, and what is set with it.
UPDATE tasks SET state = new.column3, queued_at = new.column4, start_at = new.column5,
       current_attempt = new.column6, finished_at = new.column7, reason = new.column8,
       message = new.column9, failure_count = failure_count + new.column10,
       kill_requested_at = CASE WHEN new.column3 = 'running' THEN kill_requested_at END
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) AS new
WHERE tasks.seq = new.column1 AND tasks.state = new.column2;

-- name: leave_attempt
-- The same for tasks whose attempt ends: as long as that is the current one.
UPDATE tasks SET state = new.column3, queued_at = new.column4, start_at = new.column5,
       current_attempt = new.column6, finished_at = new.column7, reason = new.column8,
       message = new.column9, failure_count = failure_count + new.column10,
       kill_requested_at = CASE WHEN new.column3 = 'running' THEN kill_requested_at END
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) AS new
WHERE tasks.seq = new.column1 AND tasks.state = new.column2
  AND tasks.current_attempt = new.column11;

-- name: request_kill
UPDATE tasks SET kill_requested_at = coalesce(kill_requested_at, :now)
WHERE seq = :seq AND state = 'running';

-- name: set_priority
UPDATE tasks SET priority = :priority WHERE seq = :seq AND state IN ('scheduled', 'queued', 'retrying');

-- name: set_schedule
UPDATE tasks SET spec = :spec WHERE seq = :seq;

-- name: delete_task
DELETE FROM tasks WHERE seq = :seq RETURNING id;

-- name: delete_events
DELETE FROM events WHERE task_seq = :seq;

-- name: delete_labels
DELETE FROM task_labels WHERE task_seq = :seq;

-- name: delete_inline_output
DELETE FROM folded_output WHERE attempt_id IN (SELECT id FROM attempts WHERE task_seq = :seq);

-- name: delete_attempts
DELETE FROM attempts WHERE task_seq = :seq RETURNING id;

-- name: add_to_count
-- Positional, as many are bound at once.
INSERT INTO task_counts (workspace, group_name, state, total) VALUES (?, ?, ?, ?)
ON CONFLICT (workspace, group_name, state) DO UPDATE SET total = task_counts.total + excluded.total;

-- name: drop_zero_counts
-- Positional, as many are bound at once.
DELETE FROM task_counts
WHERE total = 0 AND (workspace, group_name, state) IN (VALUES (?, ?, ?));
