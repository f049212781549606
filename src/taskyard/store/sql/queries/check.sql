-- What has to hold in every store at every moment, one query for each rule of check.py. Each
-- answers with the entries that break it: what it is called, and what is wrong with it. They run
-- on both databases as they stand.

-- name: state_against_history
-- The last event that changes a task's state has to leave it in the state it is in.
SELECT t.id, 'is ' || t.state || ', but its history ends in '
    || coalesce(h.state, 'queued or scheduled')
FROM tasks AS t LEFT JOIN (
    SELECT task_seq, state FROM (
        SELECT task_seq,
            CASE kind WHEN 'due' THEN 'queued' WHEN 'requeued' THEN 'queued'
                      WHEN 'assigned' THEN 'running' WHEN 'started' THEN 'running'
                      WHEN 'kill_requested' THEN 'running' WHEN 'rescheduled' THEN 'scheduled'
                      WHEN 'parked' THEN 'scheduled' ELSE kind END AS state,
            row_number() OVER (PARTITION BY task_seq ORDER BY number DESC) AS place
        FROM events
        WHERE kind IN ('due', 'requeued', 'assigned', 'started', 'kill_requested', 'rescheduled',
                       'parked', 'retrying', 'succeeded', 'failed', 'dead', 'cancelled', 'expired')
    ) AS moves WHERE place = 1
) AS h ON h.task_seq = t.seq
WHERE h.state <> t.state OR (h.state IS NULL AND t.state NOT IN ('queued', 'scheduled'));

-- name: history_after_end
-- Nothing changes the state of a task that has ended.
SELECT t.id, 'went on with ' || m.kind || ' after ' || m.earlier
FROM (
    SELECT task_seq, kind, lag(kind) OVER (PARTITION BY task_seq ORDER BY number) AS earlier
    FROM events
    WHERE kind IN ('due', 'requeued', 'assigned', 'started', 'kill_requested', 'rescheduled',
                   'parked', 'retrying', 'succeeded', 'failed', 'dead', 'cancelled', 'expired')
) AS m JOIN tasks AS t ON t.seq = m.task_seq
WHERE m.earlier IN ('succeeded', 'failed', 'dead', 'cancelled', 'expired');

-- name: history_numbers
-- A history is numbered 1, 2, 3 …, and begins with the submit.
SELECT t.id, 'has a history with gaps, or without its beginning'
FROM tasks AS t LEFT JOIN (
    SELECT task_seq, count(*) AS total, min(number) AS lowest, max(number) AS highest,
        sum(CASE WHEN kind = 'submitted' THEN number ELSE 0 END) AS submitted
    FROM events GROUP BY task_seq
) AS e ON e.task_seq = t.seq
WHERE e.total IS NULL OR e.lowest <> 1 OR e.highest <> e.total OR e.submitted <> 1;

-- name: task_columns
-- What a task's own columns say of it has to fit its state.
SELECT id, CASE
    WHEN state IN ('scheduled', 'retrying') AND start_at IS NULL THEN 'waits, but for no moment'
    WHEN state = 'queued' AND queued_at IS NULL THEN 'is queued, but since no moment'
    WHEN state <> 'running' AND kill_requested_at IS NOT NULL
        THEN 'is to be killed, but does not run'
    WHEN state <> 'running' AND current_attempt IS NOT NULL
        THEN 'has a current attempt, but does not run'
    WHEN state = 'running' AND current_attempt IS NULL THEN 'runs, but has no current attempt'
    WHEN finished_at IS NULL THEN 'has ended, but at no moment'
    ELSE 'has not ended, but has a moment of its end' END
FROM tasks
WHERE (state IN ('scheduled', 'retrying') AND start_at IS NULL)
   OR (state = 'queued' AND queued_at IS NULL)
   OR (state <> 'running' AND kill_requested_at IS NOT NULL)
   OR ((state = 'running') <> (current_attempt IS NOT NULL))
   OR ((state IN ('succeeded', 'failed', 'dead', 'cancelled', 'expired'))
       <> (finished_at IS NOT NULL));

-- name: attempt_numbers
-- The attempts at a task are numbered 1, 2, 3 … up to what it counts.
SELECT t.id, 'counts ' || t.attempt_count || ' attempts, but has ' || coalesce(a.total, 0)
    || ', the last one numbered ' || coalesce(a.highest, 0)
FROM tasks AS t LEFT JOIN (
    SELECT task_seq, count(*) AS total, min(number) AS lowest, max(number) AS highest
    FROM attempts GROUP BY task_seq
) AS a ON a.task_seq = t.seq
WHERE coalesce(a.total, 0) <> t.attempt_count OR coalesce(a.highest, 0) <> t.attempt_count
   OR coalesce(a.lowest, 1) <> 1;

-- name: attempt_owner
-- An attempt says of what task and workspace it is, as its task does.
SELECT a.id, 'names another task or workspace than the task that it belongs to'
FROM attempts AS a JOIN tasks AS t ON t.seq = a.task_seq
WHERE a.task_id <> t.id OR a.workspace <> t.workspace;

-- name: attempt_end
-- An attempt has ended if it has a moment of its end.
SELECT id, 'is ' || state || ', but its moment of the end says something else' FROM attempts
WHERE (state IN ('assigned', 'running')) <> (finished_at IS NULL);

-- name: current_attempt
-- A running task has one attempt that has not ended, which is its current one; others have none.
SELECT t.id, 'is ' || t.state || ', but ' || a.id || ' has not ended'
FROM attempts AS a JOIN tasks AS t ON t.seq = a.task_seq
WHERE a.finished_at IS NULL AND (t.current_attempt IS NULL OR t.current_attempt <> a.id)
UNION ALL
SELECT t.id, 'runs, but its current attempt has ended or does not exist'
FROM tasks AS t LEFT JOIN attempts AS a ON a.id = t.current_attempt
WHERE t.current_attempt IS NOT NULL
  AND (a.id IS NULL OR a.task_seq <> t.seq OR a.finished_at IS NOT NULL);

-- name: attempt_worker
-- The worker of an attempt that has not ended is known.
SELECT a.id, 'runs on the worker ' || a.worker_id || ', which is unknown'
FROM attempts AS a WHERE a.finished_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM workers AS w WHERE w.id = a.worker_id);

-- name: success
-- A task succeeds with its last attempt.
SELECT t.id, 'has succeeded, but its last attempt has not'
FROM tasks AS t LEFT JOIN attempts AS a ON a.task_seq = t.seq AND a.number = t.attempt_count
WHERE t.state = 'succeeded' AND (a.state IS NULL OR a.state <> 'succeeded');

-- name: assigned_events
-- The history names the attempts in their order.
SELECT a.task_id, 'has an attempt ' || a.number || ' that its history does not know'
FROM attempts AS a LEFT JOIN (
    SELECT task_seq, attempt_id, row_number() OVER (PARTITION BY task_seq ORDER BY number) AS place
    FROM events WHERE kind = 'assigned'
) AS e ON e.task_seq = a.task_seq AND e.place = a.number
WHERE e.attempt_id IS NULL OR e.attempt_id <> a.id
UNION ALL
SELECT t.id, 'has more attempts in its history than there are'
FROM tasks AS t JOIN (
    SELECT task_seq, count(*) AS total FROM events WHERE kind = 'assigned' GROUP BY task_seq
) AS e ON e.task_seq = t.seq
WHERE e.total > (SELECT count(*) FROM attempts AS a WHERE a.task_seq = t.seq);

-- name: started_events
-- The history says once of each attempt that has started that it has.
SELECT a.task_id, 'has an attempt ' || a.number || ' whose start its history tells otherwise'
FROM attempts AS a LEFT JOIN (
    SELECT task_seq, attempt_id, count(*) AS times FROM events
    WHERE kind = 'started' AND attempt_id IS NOT NULL GROUP BY task_seq, attempt_id
) AS e ON e.task_seq = a.task_seq AND e.attempt_id = a.id
WHERE coalesce(e.times, 0) <> CASE WHEN a.started_at IS NULL THEN 0 ELSE 1 END;

-- name: ended_events
-- The history says once of each attempt that has ended that it has.
SELECT a.task_id, 'has an attempt ' || a.number || ' whose end its history tells otherwise'
FROM attempts AS a LEFT JOIN (
    SELECT task_seq, attempt_id, count(*) AS times FROM events
    WHERE kind IN ('succeeded', 'failed', 'dead', 'retrying', 'requeued', 'cancelled')
      AND attempt_id IS NOT NULL
    GROUP BY task_seq, attempt_id
) AS e ON e.task_seq = a.task_seq AND e.attempt_id = a.id
WHERE coalesce(e.times, 0) <> CASE WHEN a.finished_at IS NULL THEN 0 ELSE 1 END;

-- name: event_attempts
-- The history names no attempts of others.
SELECT t.id, 'has an event ' || e.number || ' about an attempt that it does not have'
FROM events AS e JOIN tasks AS t ON t.seq = e.task_seq
WHERE e.attempt_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM attempts AS a WHERE a.id = e.attempt_id AND a.task_seq = e.task_seq)
  AND e.kind IN ('assigned', 'started', 'succeeded', 'failed', 'dead', 'retrying', 'requeued',
                 'cancelled');

-- name: task_counts
-- Kept totals are what counting gives.
SELECT workspace || '/' || group_name || '/' || state,
    'is counted as ' || sum(kept) || ', but there are ' || sum(found)
FROM (
    SELECT workspace, group_name, state, total AS kept, 0 AS found FROM {{kept.task_counts}}
    UNION ALL
    SELECT workspace, group_name, state, 0, count(*) FROM tasks GROUP BY workspace, group_name, state
) AS both_ways
GROUP BY workspace, group_name, state HAVING sum(kept) <> sum(found);

-- name: output_totals
SELECT workspace, 'is counted with ' || sum(kept) || ' bytes of output, but has ' || sum(found)
FROM (
    SELECT workspace, stored_bytes AS kept, 0 AS found FROM {{kept.output_totals}}
    UNION ALL
    SELECT workspace, 0, sum(output_bytes) FROM attempts GROUP BY workspace
) AS both_ways
GROUP BY workspace HAVING sum(kept) <> sum(found);

-- name: job_counts
SELECT g.workspace || '/' || g.name,
    'counts ' || g.job_count || ' jobs, but has ' || coalesce(j.total, 0)
FROM job_groups AS g LEFT JOIN (
    SELECT workspace, group_name, count(*) AS total FROM jobs GROUP BY workspace, group_name
) AS j ON j.workspace = g.workspace AND j.group_name = g.name
WHERE g.job_count <> coalesce(j.total, 0);

-- name: list_numbers
-- A number of a list is never given twice, so none is above the last one.
SELECT l.workspace || '/' || l.group_name,
    'has given the number ' || max(e.number) || ', but counts up to ' || l.last_number
FROM lists AS l JOIN list_entries AS e
    ON e.workspace = l.workspace AND e.group_name = l.group_name
GROUP BY l.workspace, l.group_name, l.last_number HAVING max(e.number) > l.last_number;

-- name: execution_numbers
SELECT j.workspace || '/' || j.group_name || '/' || j.id,
    'has an execution ' || max(e.number) || ', but counts up to ' || j.execution_count
FROM jobs AS j JOIN job_executions AS e ON e.job_seq = j.seq
GROUP BY j.seq, j.workspace, j.group_name, j.id, j.execution_count
HAVING max(e.number) > j.execution_count;

-- name: version_numbers
SELECT f.id, 'has a version ' || max(v.number) || ', but counts up to ' || f.last_version
FROM functions AS f JOIN function_versions AS v ON v.function_id = f.id
GROUP BY f.id, f.last_version HAVING max(v.number) > f.last_version;

-- name: live_versions
SELECT f.id, 'has a live version ' || f.live_version || ', which does not exist'
FROM functions AS f WHERE f.live_version IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM function_versions AS v
    WHERE v.function_id = f.id AND v.number = f.live_version);

-- name: orphans
-- Rows that belong to something that does not exist.
SELECT 'attempts ' || x.id, 'there is no such task' FROM attempts AS x
WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.seq = x.task_seq)
UNION ALL
SELECT 'events ' || x.task_seq, 'there is no such task'
FROM (SELECT DISTINCT task_seq FROM events) AS x
WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.seq = x.task_seq)
UNION ALL
SELECT 'task_labels ' || x.workspace || '/' || x.key || '/' || x.task_seq, 'there is no such task'
FROM task_labels AS x
WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.seq = x.task_seq AND t.workspace = x.workspace)
UNION ALL
SELECT 'folded_output ' || x.attempt_id || '/' || x.stream, 'there is no such attempt'
FROM folded_output AS x
WHERE NOT EXISTS (SELECT 1 FROM attempts AS a WHERE a.id = x.attempt_id)
UNION ALL
SELECT 'call_results ' || x.attempt_id, 'there is no such attempt' FROM call_results AS x
WHERE NOT EXISTS (SELECT 1 FROM attempts AS a WHERE a.id = x.attempt_id)
UNION ALL
SELECT 'list_entries ' || x.workspace || '/' || x.group_name || '/' || x.number,
    'there is no such task' FROM list_entries AS x
WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.seq = x.task_seq)
UNION ALL
SELECT 'list_entries ' || x.workspace || '/' || x.group_name || '/' || x.number,
    'there is no such list' FROM list_entries AS x
WHERE NOT EXISTS (SELECT 1 FROM lists AS l
                  WHERE l.workspace = x.workspace AND l.group_name = x.group_name)
UNION ALL
SELECT 'jobs ' || x.workspace || '/' || x.group_name || '/' || x.id, 'there is no such group'
FROM jobs AS x
WHERE NOT EXISTS (SELECT 1 FROM job_groups AS g
                  WHERE g.workspace = x.workspace AND g.name = x.group_name)
UNION ALL
SELECT 'job_group_words ' || x.workspace || '/' || x.word, 'there is no such group of jobs'
FROM job_group_words AS x
WHERE NOT EXISTS (SELECT 1 FROM job_groups AS g
                  WHERE g.number = x.group_number AND g.workspace = x.workspace)
UNION ALL
SELECT 'job_executions ' || x.job_seq || '/' || x.number, 'there is no such job'
FROM job_executions AS x
WHERE NOT EXISTS (SELECT 1 FROM jobs AS j WHERE j.seq = x.job_seq)
UNION ALL
SELECT 'job_executions ' || x.job_seq || '/' || x.number, 'there is no such task'
FROM job_executions AS x
WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.seq = x.task_seq)
UNION ALL
SELECT 'function_versions ' || x.function_id || '/' || x.number, 'there is no such function'
FROM function_versions AS x
WHERE NOT EXISTS (SELECT 1 FROM functions AS f WHERE f.id = x.function_id)
UNION ALL
SELECT 'function_blobs ' || x.function_id, 'there is no such function' FROM function_blobs AS x
WHERE NOT EXISTS (SELECT 1 FROM functions AS f WHERE f.id = x.function_id)
UNION ALL
SELECT x.kind || ' ' || x.id, 'there is no such function' FROM catalogue AS x
WHERE x.function_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM functions AS f WHERE f.id = x.function_id)
UNION ALL
SELECT 'issued_calls ' || x.id, 'there is no such task' FROM issued_calls AS x
WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.seq = x.seq)
UNION ALL
SELECT 'webhook_deliveries ' || x.id, 'there is no such task' FROM webhook_deliveries AS x
WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.id = x.task_id AND t.workspace = x.workspace)
UNION ALL
SELECT 'webhook_tries ' || x.delivery || '/' || x.number, 'there is no such message'
FROM webhook_tries AS x
WHERE NOT EXISTS (SELECT 1 FROM webhook_deliveries AS d WHERE d.number = x.delivery);

-- name: tries
-- No more tries at a message are kept than it counts.
SELECT d.id, 'counts ' || d.attempt_count || ' tries, but keeps the try ' || max(t.number)
FROM webhook_deliveries AS d JOIN webhook_tries AS t ON t.delivery = d.number
GROUP BY d.id, d.attempt_count HAVING max(t.number) > d.attempt_count;

-- name: parked
-- What is parked exists.
SELECT p.kind || ' ' || p.key, 'is parked, but does not exist or does not wait' FROM parked AS p
WHERE (p.kind = 'task' AND NOT EXISTS (
        SELECT 1 FROM tasks AS t WHERE t.id = p.key AND t.workspace = p.workspace
          AND t.state = 'scheduled'))
   OR (p.kind = 'job' AND NOT EXISTS (
        SELECT 1 FROM jobs AS j WHERE CAST(j.seq AS TEXT) = p.key AND j.workspace = p.workspace))
   OR (p.kind = 'schedule' AND NOT EXISTS (
        SELECT 1 FROM catalogue AS c WHERE c.kind = 'schedule' AND c.id = p.key))
   OR (p.kind = 'delivery' AND NOT EXISTS (
        SELECT 1 FROM webhook_deliveries AS d WHERE d.id = p.key AND d.state = 'pending'));

-- name: output_expected
-- Attempts whose output is not in the database, and what they say of it.
SELECT a.id, a.outcome FROM attempts AS a
WHERE a.finished_at IS NOT NULL AND a.output_bytes > 0
  AND NOT EXISTS (SELECT 1 FROM folded_output AS f WHERE f.attempt_id = a.id);

-- name: results_expected
-- Attempts whose answer is not in the database.
SELECT attempt_id FROM call_results WHERE body IS NULL AND size_bytes > 0;

-- name: bundles_expected
-- Sources that versions are made of, also those that are not built any more.
SELECT DISTINCT bundle FROM function_versions WHERE bundle <> '';
