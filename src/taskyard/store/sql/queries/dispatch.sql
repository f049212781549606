-- name: backlogs
-- Every queue with ready tasks, from the kept counters.
SELECT workspace, group_name, sum(total) FROM {{kept.task_counts}} WHERE state = 'queued'
GROUP BY workspace, group_name HAVING sum(total) > 0;

-- name: all_counts
SELECT workspace, state, sum(total) FROM {{kept.task_counts}}
GROUP BY workspace, state HAVING sum(total) <> 0;

-- name: ready
-- Queued tasks of one group, in the order in which they go.
SELECT {ready_task}
FROM tasks
WHERE workspace = :workspace AND group_name = :group_name AND state = 'queued'
ORDER BY priority DESC, seq LIMIT :limit;

-- name: ready_behind
-- The same, behind a position.
SELECT {ready_task}
FROM tasks
WHERE workspace = :workspace AND group_name = :group_name AND state = 'queued'
  AND (priority < :priority OR (priority = :priority AND seq > :seq))
ORDER BY priority DESC, seq LIMIT :limit;

-- name: place_task
-- Gives a task to an attempt, if it is still queued and its worker is still the one it was.
-- Without the latter an attempt could be given to a worker just lost, and nobody would notice.
-- Positional, as many are bound at once: the attempt, the task's seq and id, the time, the worker.
UPDATE tasks SET state = 'running', current_attempt = new.column1,
       attempt_count = attempt_count + 1, start_at = NULL, reason = NULL, message = NULL
FROM (VALUES (?, ?, ?, ?, ?, ?)) AS new
WHERE tasks.seq = new.column2 AND tasks.id = new.column3 AND tasks.state = 'queued'
  AND (tasks.expires_at IS NULL OR tasks.expires_at > new.column4)
  AND EXISTS (SELECT 1 FROM workers
              WHERE workers.id = new.column5 AND workers.incarnation = new.column6
                AND workers.state = 'ready')
RETURNING {tasks.task};

-- name: place_of
SELECT workspace, group_name, state FROM tasks WHERE seq = :seq;

-- name: worker_ready
-- Whether a worker is still the one it was, and takes tasks.
SELECT 1 FROM workers WHERE id = ? AND incarnation = ? AND state = 'ready';

-- name: insert_attempt
INSERT INTO attempts (id, task_seq, task_id, workspace, number, worker_id, incarnation, lease_token,
                      lease_expires_at, state, assigned_at, resources)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: attempts_with_tasks
-- Attempts with what their end is decided by; the ids come as a JSON list. All in one value: each
-- row that is fetched would give the interpreter's lock away once more.
SELECT json_group_array(json_array(
       a.lease_token, a.state, a.number, a.finished_at, a.started_at,
       t.seq, t.id, t.workspace, t.group_name, t.state, t.priority, t.current_attempt,
       t.kill_requested_at, t.failure_count, t.expires_at, t.spec, a.id, a.worker_id))
FROM json_each(?) AS wanted
CROSS JOIN attempts AS a ON a.id = wanted.value
CROSS JOIN tasks AS t ON t.seq = a.task_seq;

-- name: start_attempt
UPDATE attempts SET state = 'running', started_at = ?, handle = ?
WHERE id = ? AND state = 'assigned' AND lease_token = ?;

-- name: end_attempt
-- Positional, as many are bound at once: id and lease, then what is set.
UPDATE attempts SET state = new.column3, started_at = coalesce(started_at, new.column4),
       finished_at = new.column5, exit_code = new.column6, signal = new.column7,
       reason = new.column8, message = new.column9, outcome = new.column10
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) AS new
WHERE attempts.id = new.column1 AND finished_at IS NULL AND lease_token = new.column2;

-- name: insert_inline_output
INSERT INTO folded_output (attempt_id, stream, data) VALUES (?, ?, ?)
ON CONFLICT (attempt_id, stream) DO UPDATE SET data = excluded.data;

-- name: next_due
-- The earliest moment at which anything waiting changes by itself.
SELECT min(moment) FROM (
    SELECT min(start_at) AS moment FROM tasks WHERE state IN ('scheduled', 'retrying')
    UNION ALL
    SELECT min(expires_at) FROM tasks
    WHERE expires_at IS NOT NULL AND state IN ('scheduled', 'queued', 'retrying')) AS moments;

-- name: due_tasks
SELECT seq, id, workspace, group_name, state, priority, start_at, expires_at, recurring, spec
FROM tasks WHERE state IN ('scheduled', 'retrying') AND start_at <= :now
ORDER BY start_at, seq LIMIT :limit;

-- name: expired_tasks
SELECT seq, id, workspace, group_name, state, priority, spec, expires_at
FROM tasks
WHERE expires_at IS NOT NULL AND state IN ('scheduled', 'queued', 'retrying') AND expires_at <= :now
ORDER BY expires_at, seq LIMIT :limit;

-- name: advance_recurring
UPDATE tasks SET start_at = :next_at, message = NULL
WHERE seq = :seq AND state = 'scheduled' AND start_at = :due_at;

-- name: fired
-- Whether a firing of a recurring task was made before, and still exists.
SELECT 1 FROM tasks WHERE schedule_id = :schedule_id AND due_at = :due_at;

-- name: upsert_worker
INSERT INTO workers (id, incarnation, hostname, version, capacity, runtimes, joined_at, beat_at, state,
                     plane_id, details, lease_expires_at)
VALUES (:id, :incarnation, :hostname, :version, :capacity, :runtimes, :joined_at, :beat_at, :state,
        :plane_id, :details, ({{clock.now}}) + :lease)
ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation, hostname = excluded.hostname,
    version = excluded.version, capacity = excluded.capacity, runtimes = excluded.runtimes,
    joined_at = excluded.joined_at, beat_at = excluded.beat_at, plane_id = excluded.plane_id,
    details = excluded.details, lease_expires_at = excluded.lease_expires_at,
    state = CASE WHEN workers.draining = 1 THEN 'draining' ELSE excluded.state END;

-- name: plane_of_attempt
-- Output of one that has ended may still be there, if it could not be stored for all.
SELECT workers.plane_id FROM attempts JOIN workers ON workers.id = attempts.worker_id
WHERE attempts.id = :attempt_id AND (attempts.finished_at IS NULL OR attempts.output_bytes > 0);

-- name: holder_of_attempt
-- Also of one that has ended; not of one that was taken from its worker.
SELECT worker_id FROM attempts WHERE id = :attempt_id AND state <> 'lost';

-- name: draining
SELECT draining FROM workers WHERE id = :id;

-- name: set_draining
-- A worker that is lost stays lost, but is drained as soon as it joins again.
UPDATE workers
SET draining = CAST(:draining AS BIGINT),
    state = CASE WHEN state = 'lost' THEN state WHEN CAST(:draining AS BIGINT) = 1 THEN 'draining' ELSE 'ready' END
WHERE id = :id
RETURNING {worker};

-- name: adopt_attempts
-- A new incarnation of a worker takes over what the one before it held.
UPDATE attempts SET incarnation = :incarnation WHERE worker_id = :worker_id AND finished_at IS NULL;

-- name: describe_worker
UPDATE workers SET runtimes = :runtimes, details = :details
WHERE id = :id AND incarnation = :incarnation;

-- name: renew_workers
-- The leases of all these lives at once; a life has a name that no other one ever has. Whose they
-- are is looked at as well: a worker may say it is the life of another one. One whose credential was
-- revoked has no lease any more, whatever became of who revoked it.
UPDATE workers SET beat_at = :now, lease_expires_at = ({{clock.now}}) + :lease
WHERE incarnation IN (SELECT value FROM json_each(:incarnations))
  AND id IN (SELECT value FROM json_each(:ids)) AND state != 'lost'
  AND NOT (plane_id = '@joined' AND EXISTS (
      SELECT 1 FROM worker_tokens WHERE name = workers.id AND revoked_at IS NOT NULL
  ))
RETURNING id, incarnation;

-- name: lose_worker
UPDATE workers SET state = 'lost' WHERE id = :worker_id AND incarnation = :incarnation;

-- name: lose_expired_worker
UPDATE workers SET state = 'lost'
WHERE id = :worker_id AND incarnation = :incarnation AND lease_expires_at <= ({{clock.now}});

-- name: all_workers
SELECT {worker} FROM workers ORDER BY id;

-- name: all_leases
SELECT {worker}, lease_expires_at - ({{clock.now}}) FROM workers ORDER BY id;

-- name: ended_counts
-- How many ended tasks each workspace keeps.
SELECT workspace, sum(total) FROM {{kept.task_counts}}
WHERE state IN ('succeeded', 'failed', 'dead', 'cancelled', 'expired') GROUP BY workspace;

-- name: prunable
-- The ended tasks of a workspace that ended first.
SELECT seq FROM tasks
WHERE workspace = :workspace AND finished_at IS NOT NULL AND finished_at < :older_than
ORDER BY finished_at LIMIT :limit;

-- name: group_and_demand
SELECT group_name, demand FROM tasks WHERE id = ?;

-- name: group_and_state
SELECT group_name, state FROM tasks WHERE seq = ?;
